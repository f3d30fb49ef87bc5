"""What travels to the workers and back, what cannot, and who is told."""

from __future__ import annotations

import dataclasses
import importlib
import io
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from distributed import Client
from tally import Tally

import nbflow
from nbflow import group, step

pytestmark = [pytest.mark.timeout(60)]


@step
def same(x: Any = None, *_: Any) -> Any:
    return x


@step
def after(x: Any) -> Any:
    return x


LOCK = threading.Lock()


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Unreadable:
    """Can be pickled, and raises when it is unpickled."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise RuntimeError("will not be read")


# What cannot be sent


@pytest.mark.parametrize(
    "place", ["argument", "nested list", "constant", "input", "item", "keyword", "param", "list"]
)
def test_an_argument_that_cannot_travel_names_its_step(
    place: str, client: Client, tally: Tally
) -> None:
    first = step(tally.counting("first", lambda: 1))
    lock = threading.Lock()
    reader = step(lambda *args, **kwargs: 1).named("reader")
    inputs: tuple[Any, ...] = ()
    options: dict[str, Any] = {}
    if place == "argument":
        flow = reader.s(lock)
    elif place == "nested list":
        flow = reader.s([1, [2, {"deep": lock}]])
    elif place == "constant":
        flow = lock >> reader
    elif place == "input":
        flow, inputs = group(step(lambda x: 1).named("reader")), (lock,)
    elif place == "item":
        flow = reader.map([1, lock, 2])
    elif place == "keyword":
        flow = reader.s(k=lock)
    elif place == "param":
        flow, options = nbflow.param("p") >> reader, {"params": {"p": lock}}
    else:
        flow = [lock, same.s(1)] >> reader
    with pytest.raises(nbflow.TransferError, match="'reader'") as caught:
        group(first, flow).run(*inputs, **options)
    assert "lock" in str(caught.value)
    assert tally.counts() == {}


def test_a_large_argument_that_cannot_travel_names_its_step(client: Client) -> None:
    many = [np.zeros(1_000) for _ in range(100)]
    with pytest.raises(nbflow.TransferError, match="'same'"):
        same.s([many, threading.Lock()]).run()


def test_a_function_that_cannot_travel_names_its_step(client: Client, tally: Tally) -> None:
    lock = threading.Lock()

    @step
    def guarded() -> None:
        with lock:
            pass

    first = step(tally.counting("first", lambda: 1))
    with pytest.raises(nbflow.TransferError, match="the function of step 'guarded'"):
        (first >> guarded.si()).run()
    assert tally.counts() == {}


# What cannot come back


@pytest.mark.parametrize("kind", ["lock", "generator", "file", "nested", "map", "socket"])
@pytest.mark.parametrize("fuse", [True, False])
def test_a_result_that_cannot_travel_is_a_failure_of_its_step(
    kind: str, fuse: bool, client: Client
) -> None:
    path = __file__

    def make() -> Any:
        import socket

        if kind == "lock":
            return threading.Lock()
        if kind == "generator":
            return (i for i in range(3))
        if kind == "file":
            return open(path)  # noqa: SIM115
        if kind == "map":
            return map(str, [1, 2])
        if kind == "socket":
            return socket.socket()
        return {"a": [threading.Lock()]}

    flow = group(step(make) >> after, same.s(3)).options(fuse=fuse)
    run = flow.run(raise_on_error=False)
    assert isinstance(run.error("make"), nbflow.TransferError)
    assert "'make'" in str(run.error("make"))
    assert run.steps.status.to_dict() == {
        "make": "failed",
        "after": "skipped",
        "same": "completed",
    }


def test_bytes_in_memory_may_be_a_result(client: Client) -> None:
    made = step(lambda: io.BytesIO(b"png")).run().result()
    assert made.read() == b"png"


@pytest.mark.parametrize("fuse", [True, False])
def test_a_result_that_cannot_be_read_hangs_nothing(fuse: bool, client: Client) -> None:
    make = step(lambda: Unreadable()).named("make").options(fuse=fuse)
    made = [make.s() for _ in range(4)]
    run = group(group(*made) >> step(len), same.s(3)).submit()
    assert run.wait(20)
    assert run.value("same") == 3
    with pytest.raises(Exception, match="will not be read"):
        run.value("make")
    assert same.s(4).run().result() == 4


def test_an_item_that_cannot_be_read_is_a_failure(client: Client) -> None:
    run = same.s(Unreadable()).run(raise_on_error=False)
    assert run.status == "failed"
    assert "will not be read" in run.steps.reason["same"]


# Classes and functions of everywhere


def test_classes_of_the_notebook_come_back_as_themselves(client: Client) -> None:
    @dataclasses.dataclass
    class Inner:
        x: int

    run = group(step(lambda: Inner(3)) >> after, Point(1, 2) >> same).run()
    inner, point = run.result()
    assert type(inner) is Inner
    assert type(point) is Point
    assert (inner, point) == (Inner(3), Point(1, 2))
    assert run["same"].to_dict("records") == [{"x": 1, "y": 2}]


MODULE = """
    from dataclasses import dataclass
    import functools

    FACTOR = {factor}

    @dataclass
    class Sale:
        price: int
        def doubled(self):
            return Sale(self.price * FACTOR)

    class Problem(Exception):
        def __init__(self, sale, text):
            super().__init__(text)
            self.sale = sale

    def logged(fn):
        @functools.wraps(fn)
        def wrapper(*args):
            return fn(*args)
        return wrapper

    def helper(n):
        return n * FACTOR

    @logged
    def sell(n):
        return Sale(helper(n))

    def fail(n):
        raise Problem(Sale(n), "sold out")
"""


def test_a_module_that_only_the_notebook_has(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text(textwrap.dedent(MODULE.format(factor=2)))
    monkeypatch.syspath_prepend(str(tmp_path))
    shop = importlib.import_module("only_here")
    flow = 3 >> step(shop.sell) >> step(shop.Sale.doubled)
    result = flow.run().result()
    assert isinstance(result, shop.Sale)
    assert result == shop.Sale(12)
    unfused = flow.options(fuse=False).run().result()
    assert isinstance(unfused, shop.Sale)
    with pytest.raises(shop.Problem, match="sold out") as caught:
        (3 >> step(shop.fail)).run()
    assert caught.value.sale == shop.Sale(3)

    # The new text must differ in length, since Python compares times in whole seconds.
    (tmp_path / "only_here.py").write_text(textwrap.dedent(MODULE.format(factor=1000)))
    shop = importlib.reload(shop)
    result = (3 >> step(shop.sell)).run().result()
    assert result == shop.Sale(3000)
    assert isinstance(result, shop.Sale)
    sys.modules.pop("only_here")


def test_a_package_that_only_the_notebook_has(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "homemade"
    package.mkdir()
    (package / "__init__.py").write_text("from homemade.inner import work\n")
    (package / "inner.py").write_text(
        "from homemade import tools\n\ndef work(n):\n    return tools.twice(n)\n"
    )
    (package / "tools.py").write_text("def twice(n):\n    return 2 * n\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    homemade = importlib.import_module("homemade")
    assert (3 >> step(homemade.work)).run().result() == 6
    for name in [each for each in sys.modules if each.startswith("homemade")]:
        sys.modules.pop(name)


SCRIPT = """
    import dataclasses
    import enum
    import functools
    from typing import NamedTuple

    import nbflow
    from nbflow import group, step

    FACTOR = 3

    @dataclasses.dataclass
    class Sale:
        price: int

    class Colour(enum.Enum):
        RED = 1

    class Pair(NamedTuple):
        a: int
        b: int

    class Problem(Exception):
        def __init__(self, code, text):
            super().__init__(text)
            self.code = code

    def logged(fn):
        @functools.wraps(fn)
        def wrapper(*args, **kwargs):
            return fn(*args, **kwargs)
        return wrapper

    def factorial(n):
        return 1 if n < 2 else n * factorial(n - 1)

    def helper(n):
        return n * FACTOR

    @step
    @logged
    def sell(n):
        return Sale(helper(n))

    @step
    def count(n):
        return 1 if n == 0 else 1 + count(n - 1)

    def adder(k):
        @step
        def add(n):
            return n + k
        return add

    @step
    def fail():
        raise Problem(7, "bad")

    class Scaler:
        def __init__(self, k):
            self.k = k
        def __call__(self, n):
            return n * self.k
        def method(self, n):
            return n + self.k

    def main():
        nbflow.connect(n_workers=2, threads_per_worker=1)
        flow = group(
            sell.s(2),
            5 >> step(factorial),
            4 >> count,
            1 >> adder(10),
            step(lambda: Colour.RED),
            step(lambda: Pair(1, 2)),
            3 >> step(Scaler(4)),
            3 >> step(Scaler(4).method),
            3 >> step(functools.partial(pow, 2)),
        )
        for variant in (flow, flow.options(fuse=False)):
            sale, five, depth, eleven, red, pair, twelve, seven, eight = variant.run().result()
            assert type(sale) is Sale and sale.price == 6, sale
            assert (five, depth, eleven, twelve, seven, eight) == (120, 5, 11, 12, 7, 8)
            assert red is Colour.RED
            assert type(pair) is Pair
        try:
            fail.run()
        except Problem as error:
            assert error.code == 7
            assert "fail" in error.__notes__[0]
        else:
            raise AssertionError("no exception")
        print("done")

    if __name__ == "__main__":
        main()
"""


def test_everything_of_main_travels(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(script)],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
    assert "Error" not in done.stderr


# Large values


def test_a_large_constant_is_sent_once_and_without_a_warning(client: Client) -> None:
    df = pd.DataFrame({"a": np.arange(6_500_000, dtype="int64")})

    @step
    def total(frame: pd.DataFrame, k: int) -> int:
        return int(frame["a"].sum()) + k

    flow = group(df >> total.s(k) for k in range(12))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = flow.run()
        unfused = flow.options(fuse=False).run()
    expected = [int(df["a"].sum()) + k for k in range(12)]
    assert run.result() == expected
    assert unfused.result() == expected
    constants = [key for key in client.who_has() if str(key).startswith("constant-")]
    assert len(constants) == 2


@pytest.mark.parametrize("fuse", [True, False])
def test_many_medium_constants_give_no_warning(fuse: bool, client: Client) -> None:
    size = step(len).options(fuse=fuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = group(size.s(bytes(20_000)) for _ in range(1_000)).run()
    assert run.result() == [20_000] * 1_000


def test_a_function_with_a_large_closure_travels(client: Client) -> None:
    table = np.arange(2_000_000)
    look = step(lambda i: int(table[i])).named("look")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert look.map(range(20)).run().result() == list(range(20))


def test_large_results_stay_on_the_workers(client: Client) -> None:
    @step
    def big() -> Any:
        return np.ones(5_000_000)

    run = (big >> step(lambda x: float(x.sum())).named("total")).run()
    assert run.result() == 5_000_000
    assert run.value("big").shape == (5_000_000,)
    assert run.steps.bytes["big"] >= 40_000_000


def test_deep_and_odd_values_travel_or_fail_with_a_name(client: Client) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(nbflow.TransferError, match="'same'"):
        same.s(deep).run()

    @step
    def nested() -> Any:
        found: list[Any] = []
        for _ in range(100_000):
            found = [found]
        return found

    run = group(nested >> after, same.s(1)).run(raise_on_error=False)
    assert run.steps.status["nested"] == "failed"
    assert run.steps.status["same"] == "completed"
