"""Flows as records: written down, read in another process, drawn, and run again."""

from __future__ import annotations

import enum
import functools
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gallery import HOSTILE, etl, named, wide
from hypothesis import HealthCheck, given, settings
from strategies import written_flows

from nbflow import Flow, Retry, StoreError, TransferError, branch, chain, group, param, step, switch
from nbflow.algebra.expression import Node
from nbflow.algebra.fingerprint import same_function
from nbflow.notebook.draw import digraph
from nbflow.notebook.mermaid import mermaid
from nbflow.notebook.text import tree
from nbflow.planning.plan import Plan
from nbflow.sketch.sealed import Sealed, Unread
from nbflow.sketch.sketch import Sketch

REPOSITORY = Path(__file__).parents[2]


@step
def inc(x=0, by=1):
    return x + by


@step
def total(values):
    return sum(values)


@step
def upto(n):
    return list(range(n))


def later(flow: Flow, **params: object) -> Sketch:
    """Write a flow down, and read it again."""
    return Sketch.opened(Sketch.of(flow.ready(), params).packed())


def parts(plan: Plan) -> list[object]:
    """Say what a plan is, without the objects that each flow has of its own."""
    return [
        (
            (each.units, each.upstream, each.start, each.stop, each.lane, each.block),
            each.region and each.region.positions,
        )
        for each in plan.segments
    ]


def wired(flow: Flow) -> list[object]:
    topology = flow.topology
    guards = [each and (each.position, each.arm) for each in topology.guards]
    lots = topology.demands.lots
    return [
        (topology.names, topology.inputs, topology.order_only, guards),
        numbered(node.call.identity for node in topology.nodes),
        numbered(each and id(each.cap) for each in lots),
        [each and each.member for each in lots],
        [(node.loose, node.bare_map, node.open) for node in topology.nodes],
    ]


def numbered(identities: Iterable[object]) -> list[int]:
    """Say which of some objects are one."""
    known: dict[object, int] = {}
    return [known.setdefault(each, len(known)) for each in identities]


def check_same(flow: Flow, sketch: Sketch) -> None:
    """Check that a flow was read as it is."""
    again, picture = sketch.flow(), sketch.picture()
    assert again == flow
    assert (again.name, again.label, again.steps) == (flow.name, flow.label, flow.steps)
    assert wired(again) == wired(picture) == wired(flow)
    for threads in (1, 2, 5):
        assert parts(Plan.of(again.topology, threads)) == parts(Plan.of(flow.topology, threads))
    for collapse in (True, False):
        drawn = digraph(flow, collapse=collapse).source
        assert digraph(picture, collapse=collapse).source == drawn
        assert digraph(again, collapse=collapse).source == drawn
    assert tree(picture) == tree(flow)
    assert mermaid(picture) == mermaid(flow)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(written=written_flows())
def test_any_flow_is_read_as_it_was_written(written):
    flow = written.flow.ready()
    first = Sketch.of(flow, {})
    sketch = Sketch.opened(first.packed())
    check_same(flow, sketch)
    assert sketch.flow().call() == written.value
    assert sketch.names == tuple(flow.steps)
    # What was read is again the same flow, written in the same way.
    again = Sketch.of(sketch.flow(), {})
    assert again.identity == sketch.identity == first.identity
    assert again.codes == sketch.codes == first.codes
    assert not any(code.unknown for code in sketch.codes)


class Colour(enum.Enum):
    RED = 1


FLOWS = {
    "a chain": lambda: 1 >> inc >> inc.s(2) >> inc.s(by=3),
    "no step": lambda: chain([1, [2, "x"], (3,)]),
    "an etl": etl,
    "a stack": lambda: wide(30),
    "hostile names": lambda: group(named(name) for name in HOSTILE) >> step(len),
    "names": lambda: (1 >> inc).named("two\nlines"),
    "a name twice": lambda: group(inc, inc.s(), inc.s()) >> total,
    "a call on two": lambda: group(1 >> inc, 2 >> inc, inc.s(1) >> inc) >> total,
    "shared upstream": lambda: (lambda one: group(one >> inc, one >> inc.s(2), one))(3 >> inc),
    "lambdas": lambda: (
        [1 >> (lambda_ := step(lambda x: x + 1)), 2 >> lambda_, 3 >> step(lambda x: x)] >> total
    ),
    "only after": lambda: inc.s(1) >> inc.si(2) >> inc.si(by=4),
    "nested": lambda: [inc.s(1), (inc.s(2), {"a": inc.s(3), 4: [5]})] >> step(repr),
    "a limit": lambda: group((inc.s(n) for n in range(5)), max_concurrency=2) >> total,
    "a flow among arguments": lambda: 1 >> inc.s(inc.s(2)) >> inc.s(by=inc.s(3) >> inc),
    "copies of a call": lambda: (lambda part: group(1 >> part, 2 >> part))(
        step(len).s(upto) >> inc
    ),
    "copies of a limit": lambda: (lambda part: group(1 >> part, 2 >> part))(
        group(upto.s(), upto.s() >> total, max_concurrency=1)
    ),
    "params": lambda: [param("a", 5) >> inc, param("b", [1, 2]) >> total] >> total,
    "retries and more": lambda: (1 >> inc >> inc.s()).options(
        retry=Retry(attempts=2, on=ValueError),
        timeout=60,
        lock="warehouse",
        tags=["a", "b"],
        priority=3,
    ),
    "resources": lambda: 1 >> inc.options(resources={"GPU": 1}, fuse=False),
    "predicates": lambda: 5 >> inc.options(when=lambda x: x > 3) >> inc.s().when(callable),
    "a branch": lambda: 3 >> branch(lambda n: n > 2, inc.s(2) >> inc, inc) >> inc.s(),
    "half a branch": lambda: 3 >> branch(lambda n: n > 5, inc) >> inc.s(),
    "a switch": lambda: (
        Colour.RED
        >> switch(
            lambda each: each, {Colour.RED: step(repr), "x": 2, int: 3, 4: 4, (5,): 5}, default=6
        )
    ),
    "a map": lambda: upto.s(3) >> inc.map() >> inc.s(2).map() >> total,
    "a map of a flow": lambda: upto.s(3) >> (inc >> branch(callable, inc, inc.s(3))).map() >> total,
    "maps in maps": lambda: [1, 2, 3] >> (upto >> inc.map() >> total).map(chunk_size=2) >> total,
    "map options": lambda: inc.map(
        [1, 2, 3], key=["a", "b", "c"], max_concurrency=2, on_error="collect"
    ),
    "map keys": lambda: upto.s(3) >> inc.map(key=lambda n: f"n{n}"),
    "a mapped list": lambda: upto.s(3) >> chain([inc, inc.s(2)]).map() >> step(len),
    "a starmap": lambda: inc.starmap([(1, 2), (3, 4)]) >> total,
    "a reduction": lambda: upto.s(50) >> inc.map() >> total.reduce(split_every=3),
    "a frame": lambda: pd.DataFrame({"a": range(40)}) >> step(len).map(chunk_size=7) >> total,
    "constants": lambda: (
        [
            pd.DataFrame({"a": [1]}),
            np.zeros((2, 3)),
            {"a": 1, "b": 2},
            (1, [2]),
            [3, 4],
            {5},
            range(6),
            Colour.RED,
            Path("x"),
            b"7",
            10**30,
            1j,
            None,
            int,
        ]
        >> step(lambda values: [str(each) for each in values])
    ),
    "partials and methods": lambda: (
        3 >> step(functools.partial(divmod, 17)) >> step(repr, when=functools.partial(max, (1, 2)))
    ),
    "options of a flow": lambda: (inc.s(inc.s(1)) >> inc.s(inc)).options(timeout=9) >> inc,
    "an input": lambda: (upto >> inc.map()).ready(4),
}


@pytest.mark.parametrize("make", FLOWS.values(), ids=FLOWS)
def test_every_kind_of_flow_is_read_as_it_was_written(make):
    flow = make().ready()
    sketch = later(flow)
    check_same(flow, sketch)
    assert sketch.flow().call() == flow.call()
    assert Sketch.of(make().ready(), {}).identity == sketch.identity
    assert Sketch.of(sketch.flow(), {}).identity == sketch.identity


def test_calls_maps_and_limits_keep_their_identity():
    flow = group((3 >> inc, upto.s(2) >> (inc >> inc.s()).map()), max_concurrency=2)
    again = later(flow).flow()
    mapped = [node.axis for node in again.topology.nodes if node.axis is not None]
    assert len({id(axis.key) for axis in mapped}) == 1
    # The same call on the same upstream is one step, as it was before.
    doubled = chain([3 >> inc, 3 >> inc], total)
    assert len(later(doubled).flow()) == len(doubled)
    lot = again.topology.demands.lots
    assert len({id(each.cap) for each in lot if each is not None}) == 1


def test_a_node_that_was_copied_is_found_to_be_the_same_call():
    one = inc.s(4)
    flow = group(one.named("x"), one.options(timeout=5)).options(timeout=5)
    assert len(flow) == len(later(flow).flow())


def test_what_two_steps_hold_is_kept_once():
    data = list(range(5000))
    flow = group(step(len).s(data), total.s(data), step(max).s(data))
    sketch = later(flow)
    assert sum(each.kind == "list" for each in sketch.sealed) == 1
    values = [node.args[0].value for node in sketch.flow().topology.nodes]
    assert values[0] is values[1] is values[2]


def test_handlers_are_part_of_the_flow():
    seen = []
    handler = step(lambda failures, note: seen.append(note)).named("tell").s(param("note", "no"))
    flow = (1 >> inc).on_error(handler >> inc.si(1)).on_error(print).named("x")
    again = later(flow)
    assert [each.steps for each in again.flow().handlers] == [["tell", "inc"], ["print"]]
    assert [each.steps for each in again.picture().handlers] == [["tell", "inc"], ["print"]]
    assert again.flow().handlers[0].params == {"note": "no"}
    assert again.names == ("inc",)


def test_params_are_kept_with_their_values():
    flow = (param("df") >> step(len), param("n", 3) >> inc) >> inc
    df = pd.DataFrame({"a": [1, 2]})
    sketch = later(flow, df=df, n=5)
    values = sketch.values()
    pd.testing.assert_frame_equal(values.pop("df"), df)
    assert values == {"n": 5}
    assert sketch.flow().params.keys() == {"df", "n"}
    assert sketch.flow().call(params=sketch.values()) == 8


def test_a_chain_of_ten_thousand_steps_is_no_matter():
    flow = 0 >> inc
    for _ in range(9_999):
        flow = flow >> inc.s()
    sketch = later(flow)
    assert len(sketch.names) == 10_000
    assert sketch.flow().steps == flow.steps
    assert sketch.picture().steps == flow.steps
    assert sketch.identity == Sketch.of(flow, {}).identity


def test_two_functions_of_one_name_that_shared_an_object_stay_one():
    class Model:
        def __call__(self, x):
            return x

    model = Model()

    def make():
        def predict(x):
            return model(x)

        return predict

    def make_other(m):
        def predict(x):
            return m(x)

        return predict

    flow = group(1 >> step(make_other(model)), 2 >> step(make_other(model)))
    fns = [node.call.definition.fn for node in flow.topology.nodes]
    assert same_function(*fns)
    assert fns[0] is not fns[1]
    again = later(flow).flow()
    assert again.steps == ["predict", "predict_2"]
    assert again.call() == [1, 2]
    assert later(group(1 >> step(make()))).flow().call() == [1]


# What can be said without reading


class Touched:
    """Leaves a file where it was read."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (self.file, "w")

    def __call__(self, x):
        return x


def test_neither_opening_nor_drawing_runs_code_of_the_user(tmp_path):
    trap = str(tmp_path / "touched")
    touched = Touched(trap)
    flow = (touched, param("p", touched)) >> step(lambda *_: 1).options(when=touched)
    flow = (flow >> inc.map([touched], key=Touched(trap))).on_error(touched)
    sketch = Sketch.opened(Sketch.of(flow, {"p": touched}).packed())
    assert digraph(sketch.picture()).source == digraph(flow).source
    assert sketch.identity
    assert sketch.codes
    assert not os.path.exists(trap)
    sketch.values()
    assert os.path.exists(trap)


def test_a_placeholder_knows_its_name_type_and_length():
    flow = (pd.DataFrame({"a": [1, 2]}), [1, 2, 3], Path("x")) >> step(lambda *_: 1).named("f")
    node = later(flow).picture().topology.nodes[0]
    frame, listed, path = (each.value for each in node.args)
    assert type(frame).__name__ == "DataFrame"
    assert (len(frame), frame.shape, bool(frame)) == (2, (2, 1), True)
    assert type(listed) is list
    assert len(listed) == 3
    assert type(path).__name__ == "PosixPath"
    with pytest.raises(TypeError):
        len(path)
    fn = node.call.definition.fn
    assert isinstance(fn, Unread)
    assert fn.__name__ == "lambda"
    assert repr(fn) == "<lambda, not read>"
    with pytest.raises(StoreError, match="the function of step 'f' cannot be called"):
        fn(1)


@pytest.mark.parametrize("name", ["a\0b", "é", "\ud800", "list"])
def test_a_placeholder_stands_for_a_class_of_any_name(name):
    made = Sealed(b"", "", name, "somewhere", "", "", None, None).unread()
    assert isinstance(made, Unread)


# What cannot be read


PICKLES = {
    "a function": b"cposix\nsystem\n(S'touch {}'\ntR.",
    "a class of ours": pickle.dumps(Sealed(b"", "", "", "", "", "", None, None)),
    "a builtin": pickle.dumps(print),
}


@pytest.mark.parametrize("data", PICKLES.values(), ids=PICKLES)
def test_nothing_is_imported_by_opening(data, tmp_path):
    from nbflow.sketch.sketch import _MAGIC, _hash

    trap = tmp_path / "trap"
    data = data.replace(b"{}", str(trap).encode())
    with pytest.raises(StoreError, match="cannot be read as the record of a flow: they ask for"):
        Sketch.opened(_MAGIC + _hash(data) + data)
    assert not trap.exists()


def test_damaged_records_are_refused_with_advice():
    whole = Sketch.of(1 >> inc, {}).packed()
    assert Sketch.opened(whole).names == ("inc",)
    for end in range(0, len(whole), 7):
        with pytest.raises(StoreError, match=r"cannot be read as the record .* Run the flow again"):
            Sketch.opened(whole[:end])
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        with pytest.raises(StoreError, match="cannot be read as the record"):
            Sketch.opened(bytes(damaged))


def test_what_cannot_be_kept_is_blamed_on_its_step():
    lock = threading.Lock()
    bad = step(lambda *args, **kwargs: 0).named("bad")
    holds = step(lambda x: lock).named("holds")
    cases = {
        "argument 2 of step 'bad', a lock, cannot be kept": 1 >> bad.s(lock),
        "argument 'y' of step 'bad', a lock,": bad.s(y=lock),
        "argument 'items' of step 'bad', a list,": bad.map([lock]),
        "the function of step 'holds', a function,": 1 >> holds,
        "the predicate 'lambda' of step 'bad', a function,": 1 >> bad.s().when(lambda x: lock),
        "the default of the parameter 'p', a lock": param("p", lock) >> bad,
        "the key of the map of step 'bad', a function": bad.map([1], key=lambda x: lock),
    }
    for said, flow in cases.items():
        with pytest.raises(TransferError, match=said) as caught:
            Sketch.of(flow, {})
        assert "make that inside the step" in str(caught.value)
        assert caught.value.__cause__ is not None
    with pytest.raises(TransferError, match="the parameter 'q', a lock"):
        Sketch.of(param("q") >> bad, {"q": lock})


# Other processes

CELL = """
import pathlib, sys
import pandas as pd
from nbflow import branch, param, step
from nbflow.sketch.sketch import Sketch
from nbflow.notebook.draw import digraph

WORDS = {"eu", "us", "asia"}

class Shop:
    def __init__(self, city):
        self.city = city

@step
def opened(city, shop=None):
    return Shop(city)

@step
def named(shop, end):
    return shop.city + end + "".join(sorted(WORDS))

flow = opened.s("Oslo", Shop("x")) >> named.s(param("end"))
flow = flow >> branch(str.isupper, str.lower, str.upper)
params = {"end": "!"}
"""
WRITE = """
sketch = Sketch.of(flow, params)
pathlib.Path(sys.argv[1]).write_bytes(sketch.packed())
print(sketch.identity, digraph(flow).source)
"""
READ = """
import pathlib, sys
from nbflow.sketch.sketch import Sketch
from nbflow.notebook.draw import digraph
sketch = Sketch.opened(pathlib.Path(sys.argv[1]).read_bytes())
print(sketch.identity, digraph(sketch.picture()).source)
"""
RUN = """
print(sketch.flow().call(params=sketch.values()))
"""


def interpreted(source: str, *args: object, seed: str = "0", **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", source, *map(str, args)],
        env={**os.environ, "PYTHONHASHSEED": seed, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_flow_of_a_notebook_is_drawn_and_run_in_another_process(tmp_path):
    file = tmp_path / "sketch"
    written = interpreted(CELL + WRITE, file, seed="1")
    assert interpreted(CELL + WRITE, tmp_path / "again", seed="2") == written
    assert interpreted(READ, file, seed="3") == written
    assert interpreted(READ + RUN, file).endswith("OSLO!ASIAEUUS\n")


def test_a_module_beside_the_notebook_is_kept_with_the_flow(tmp_path):
    beside = tmp_path / "beside.py"
    beside.write_text("N = 5\ndef clean(x): return x + N\n")
    source = "import beside, pathlib, sys\nfrom nbflow import step\n"
    source += "from nbflow.sketch.sketch import Sketch\n"
    source += "from nbflow.notebook.draw import digraph\n"
    source += "flow, params = 1 >> step(beside.clean), {}\n" + WRITE
    written = interpreted(source, tmp_path / "sketch", PYTHONPATH=str(tmp_path))
    beside.unlink()
    assert interpreted(READ, tmp_path / "sketch") == written
    assert interpreted(READ + RUN, tmp_path / "sketch").endswith("6\n")


def test_a_step_whose_module_is_gone_is_named_and_still_drawn(tmp_path):
    packages = tmp_path / "site-packages"
    packages.mkdir()
    (packages / "vanishing.py").write_text("def clean(x): return x\n")
    source = "import vanishing, pathlib, sys\nfrom nbflow import step\n"
    source += "from nbflow.sketch.sketch import Sketch\nfrom nbflow.notebook.draw import digraph\n"
    source += "flow, params = 1 >> step(vanishing.clean, name='tidy'), {}\n" + WRITE
    written = interpreted(source, tmp_path / "sketch", PYTHONPATH=str(packages))
    assert interpreted(READ, tmp_path / "sketch") == written
    sketch = Sketch.opened((tmp_path / "sketch").read_bytes())
    with pytest.raises(
        StoreError, match=r"the function of step 'tidy' .* its module 'vanishing' is"
    ):
        sketch.flow()
    with pytest.raises(StoreError, match=r"run\.resume\(flow\)"):
        sketch.flow()


def test_functions_of_another_python_are_not_read():
    from dataclasses import replace

    sketch = later(1 >> inc)
    other = replace(sketch, python=(3, 9))
    with pytest.raises(StoreError, match=r"written by Python 3\.9"):
        other.flow()
    assert other.picture().steps == ["inc"]


def test_an_identity_is_that_of_the_flow_and_its_parameters():
    def flow(by=2, fn=lambda x: x, after=inc):
        return [param("p", 1) >> inc.s(by), step(fn).named("f").s(5)] >> total >> after

    base = Sketch.of(flow(), {"p": 1}).identity
    assert Sketch.of(flow(), {"p": 1}).identity == base
    assert Sketch.of(flow().named("other").options(retry=3, timeout=60), {"p": 1}).identity == base
    others = [
        Sketch.of(flow(), {"p": 2}),
        Sketch.of(flow(by=3), {"p": 1}),
        Sketch.of(flow(by=2.0), {"p": 1}),
        Sketch.of(flow(fn=lambda x: -x), {"p": 1}),
        Sketch.of(flow(after=inc.s(1)), {"p": 1}),
        Sketch.of(flow(after=inc.named("more")), {"p": 1}),
        Sketch.of(flow() >> inc.s(), {"p": 1}),
        Sketch.of(chain([flow()]), {"p": 1}),
    ]
    assert len({base, *(each.identity for each in others)}) == 1 + len(others)


def test_a_record_does_not_change_with_the_values_that_it_was_made_of():
    items = [1, 2]
    flow = step(sum).s(items)
    sketch = Sketch.of(flow, {"p": items})
    packed = sketch.packed()
    items.append(3)
    assert sketch.packed() == packed
    assert sketch.flow().call() == 3
    sketch.flow().topology.nodes[0].args[0].value.append(9)
    assert sketch.values() == {"p": [1, 2]}
    assert isinstance(sketch.flow().expression, Node)
