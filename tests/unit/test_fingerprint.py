"""When two values, and two functions, are the same."""

from __future__ import annotations

import copy
import enum
import functools
import os
import subprocess
import sys
import threading
from itertools import count

import numpy as np
import pandas as pd
import polars as pl
import pytest
import samples
from hypothesis import example, given
from hypothesis import strategies as st

from nbflow import step
from nbflow.algebra.fingerprint import same_function, same_value
from nbflow.sketch.codes import Codes, code_of

NAN = float("nan")


class Raises:
    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None


class Odd:
    def __eq__(self, other):
        return pd.NA

    __hash__ = None


@pytest.mark.parametrize(
    "make",
    [
        lambda: 5,
        lambda: "text",
        lambda: None,
        lambda: (1, [2, {"a": {3}}]),
        lambda: float("nan"),
        lambda: [float("nan"), {"k": float("nan")}],
        lambda: np.arange(6).reshape(2, 3),
        lambda: np.array([1.0, np.nan]),
        lambda: np.array([["a", None]], dtype=object),
        lambda: np.float64(1.5),
        lambda: np.int8(3),
        lambda: np.datetime64("2020-01-01"),
        lambda: pd.DataFrame({"a": [1, None], "b": ["x", "y"]}),
        lambda: pd.DataFrame(),
        lambda: pd.Series([1, 2], name="s"),
        lambda: pd.Index([1, 2]),
        lambda: pd.Timestamp("2020-01-01"),
        lambda: [pd.DataFrame({"a": [1]})],
        lambda: frozenset([1, 2]),
        lambda: range(3),
        lambda: lambda x: x + 1,
        lambda: [lambda x, y=(lambda: 1): x + 1],
        lambda: functools.partial(len),
        lambda: functools.partial(lambda x, y: x, 1, y=[2]),
        lambda: len,
        lambda: pd.DataFrame,
    ],
)
def test_a_value_made_again_is_the_same(make):
    assert same_value(make(), make())


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, 2),
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ("1", 1),
        ([1], (1,)),
        ([1], [1, 1]),
        ([1], [True]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (NAN, 1.0),
        (None, 0),
        (np.arange(3), np.arange(4)),
        (np.arange(3), np.arange(3.0)),
        (np.arange(3), np.array(3)),
        (np.zeros(3), [0.0, 0.0, 0.0]),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1.0]})),
        (pd.Series([1]), pd.DataFrame({"a": [1]})),
        (Raises(), Raises()),
        (Odd(), Odd()),
        (object(), object()),
        (len, abs),
        (functools.partial(len), functools.partial(abs)),
        (functools.partial(pow, 2), functools.partial(pow, 3)),
        (functools.partial(int, base=2), functools.partial(int, base=3)),
        (functools.partial(len), len),
        (lambda x: x, lambda y: y),
        (lambda x: x, lambda x, /: x),
        (lambda x=1: x, lambda x=2: x),
        (lambda *, x=1: x, lambda *, x=2: x),
        (lambda: {1, 2}, lambda: {1, 3}),
        (lambda: lambda: 1, lambda: lambda: 2),
        (pd.DataFrame, pd.Series),
    ],
)
def test_what_differs_differs(left, right):
    assert not same_value(left, right)
    assert not same_value(right, left)
    assert same_value(left, left)


def test_a_list_that_holds_itself_ends():
    left: list = []
    left.append(left)
    right: list = []
    right.append(right)
    assert same_value(left, left)
    assert not same_value(left, right)


def test_where_a_function_is_defined_does_not_matter():
    spaces = [{}, {}]
    for lines, space in enumerate(spaces):
        exec(compile("\n" * lines + "def f(x): return [x for y in x]", f"<{lines}>", "exec"), space)
    assert same_function(spaces[0]["f"], spaces[1]["f"])


def test_recursive_functions_and_closures_over_each_other_end():
    def make(end):
        def even(n):
            return True if n == 0 else odd(n - 1)

        def odd(n):
            return end if n == 0 else even(n - 1)

        return even

    assert same_function(make(False), make(False))
    assert not same_function(make(False), make(None))


def test_closures_that_share_much_are_compared_once():
    def make():
        fn = lambda: 0  # noqa: E731
        for _ in range(60):
            fn = (lambda a, b: lambda: a() + b())(fn, fn)
        return fn

    found = []
    thread = threading.Thread(target=lambda: found.append(same_function(make(), make())))
    thread.daemon = True
    thread.start()
    thread.join(20)
    assert found == [True]


def test_an_empty_cell_counts_as_different():
    def make():
        def inner():
            return later

        if False:
            later = 1
        return inner

    assert not same_function(make(), make())


def test_a_comparison_that_failed_leaves_nothing_behind():
    def make(value):
        return lambda: value

    left, right = make([1]), make([2])
    assert not same_function(left, right)
    assert not same_function(left, right)
    assert same_function(make([1]), make([1]))


# The digest of a function

_FILES = count()


def written(source: str, name: str = "f"):
    """Run the source of a cell as a notebook does, and give what it defines."""
    space = {"__name__": "__main__"}
    exec(compile(source, f"<cell {next(_FILES)}>", "exec"), space)
    return space[name]


def digest(source: str) -> str:
    code = code_of(written(source))
    assert code.unknown == ()
    return code.digest


CELL = """
import math
K = 3
def helper(x):
    return x * K
class Tool:
    size = 2
    def use(self, x):
        return helper(x) + self.size
def f(x, y=1, *, z=2):
    "Words."
    def inner(a):
        return [a, y, (1, "b", None)]
    if x in {"a", "b"}:
        return Tool().use(x)
    return helper(inner(x) + math.floor(z))
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("K = 3", "# A comment.\n\n\nK = 3"),
        ('"Words."', '"Other words."'),
        ('    "Words."\n', ""),
        ("def helper(x):", "def helper(x):\n    'Words.'"),
        ("class Tool:", "class Tool:\n    'Words.'"),
        ("(x, y=1", "(x: 'int', y=1"),
        ("return helper(inner", "return (helper)(inner"),
        ('{"a", "b"}', '{"b", "a"}'),
        ("def f(x", "unused = object()\ndef f(x"),
    ],
)
def test_what_does_the_same_has_the_same_digest(old, new):
    assert digest(CELL) == digest(CELL)
    assert old in CELL
    assert digest(CELL) == digest(CELL.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("K = 3", "K = 4"),
        ("K = 3", "K = 3.0"),
        ("K = 3", "K = '3'"),
        ("return x * K", "return x + K"),
        ("return x * K", "return K * x"),
        ("size = 2", "size = 3"),
        ("+ self.size", "- self.size"),
        ("class Tool:", "class Base:\n    extra = 1\nclass Tool(Base):"),
        ("y=1", "y=2"),
        ("y=1", "y=True"),
        ("z=2", "z=3"),
        ("*, z=2", "z=2"),
        ("(1, ", "(2, "),
        ('"b", None', '"b", ...'),
        ("math.floor", "math.ceil"),
        ("def f(x", "async def f(x"),
        ("def f(x", "import functools\n@functools.lru_cache\ndef f(x"),
        ("def helper(x):", "def helper(x, n=0):"),
        ("import math", "import cmath as math"),
        ("K = 3", ""),
    ],
)
def test_what_does_something_else_has_another_digest(old, new):
    assert old in CELL
    assert digest(CELL) != digest(CELL.replace(old, new, 1))


def test_a_docstring_that_is_new_moves_no_constant():
    # Where there is none, the first constant is None, which other code may use.
    cell = "def f(x):\n    print(x, 1)\n"
    assert digest(cell) == digest(cell.replace("    print", "    'Words.'\n    print"))
    assert digest(cell) != digest(cell.replace("1", "None"))


def test_what_is_called_in_a_try_is_not_what_is_called_after_it():
    # The bytecode may be the same to the last byte.
    one = "def f():\n    try:\n        a()\n        b()\n    except E:\n        c()\n"
    other = "def f():\n    try:\n        a()\n    except E:\n        c()\n    else:\n        b()\n"
    assert digest(one) != digest(other)


def test_two_lambdas_on_one_line_differ():
    first, second = lambda x: x + 1, lambda x: x + 2
    assert code_of(first) != code_of(second)


def test_functions_of_one_factory_differ_by_what_they_close_over():
    def make(n):
        return lambda x: (x, n)

    assert code_of(make(1)) == code_of(make(1))
    assert code_of(make(1)) != code_of(make(2))
    assert code_of(make(1)) != code_of(make(True))
    assert code_of(make({"a", "b"})) == code_of(make({"b", "a"}))
    assert code_of(make({"a": 1, "b": 2})) != code_of(make({"b": 2, "a": 1}))


def test_a_cell_that_is_still_empty_is_no_error():
    def make(fill):
        def inner():
            return later

        if fill:
            later = 1
        return inner

    assert code_of(make(False)) == code_of(make(False))
    assert code_of(make(False)) != code_of(make(True))


def test_partials_methods_and_callable_objects_count_by_what_they_hold():
    class Scaler:
        def __init__(self, by):
            self.by = by

        def __call__(self, x):
            return x * self.by

        def scale(self, x):
            return x * self.by

    def add(x, y=0):
        return x + y

    makers = [
        lambda n: functools.partial(add, n),
        lambda n: functools.partial(add, y=n),
        lambda n: Scaler(n),
        lambda n: Scaler(n).scale,
        lambda n: step(functools.partial(add, y=n)),
        lambda n: [add, n].append,
    ]
    digests = set()
    for make in makers:
        assert code_of(make(1)) == code_of(make(1))
        assert code_of(make(1)) != code_of(make(2))
        digests.add(code_of(make(1)).digest)
    assert len(digests) == len(makers)


def test_a_step_counts_by_its_function_wherever_it_is_used():
    cell = "from nbflow import step\n@step(retry=N)\ndef g(x): return x + M\ndef f(x): return g(x)"
    one = digest(cell.replace("N", "1").replace("M", "1"))
    assert one == digest(cell.replace("N", "2").replace("M", "1"))
    assert one != digest(cell.replace("N", "1").replace("M", "2"))


def test_what_wraps_a_function_counts_and_so_does_what_is_wrapped():
    cell = """
import functools
def loud(fn):
    @functools.wraps(fn)
    def wrapper(*args):
        return fn(*args) + 1
    return wrapper
@loud
def f(x):
    return x - 5
"""
    assert digest(cell) == digest(cell)
    assert digest(cell) != digest(cell.replace("+ 1", "+ 2"))
    assert digest(cell) != digest(cell.replace("- 5", "- 6"))


def test_enums_dataclasses_and_properties_count_by_what_they_say():
    cell = """
import dataclasses, enum, functools, typing
class Kind(enum.Enum):
    SMALL = 1
    def bigger(self): return self.value + 707
@dataclasses.dataclass(frozen=True)
class Config:
    kind: Kind = Kind.SMALL
    sizes: list = dataclasses.field(default_factory=lambda: [11])
    @property
    def first(self): return self.sizes[13]
    @functools.cached_property
    def last(self): return self.sizes[17]
    @staticmethod
    def still(): return 19
    @classmethod
    def made(cls): return 23
class Pair(typing.NamedTuple):
    left: int
    right: str = "29"
def f(x): return Config(), Pair(x)
"""
    assert digest(cell) == digest(cell)
    digests = {digest(cell.replace(each, "31")) for each in "707 11 13 17 19 23 29".split()}
    assert len(digests) == 7
    assert digest(cell) not in digests


def test_frames_and_arrays_count_by_their_content():
    def makers(n):
        return [
            pd.DataFrame({"a": [1, n], "b": ["x", None]}),
            pd.DataFrame({"a": [1, {n}]}),
            pd.Series([1, n], name="s"),
            pd.Index([1, n]),
            pl.DataFrame({"a": [1, n]}),
            np.array([1, n]),
            np.array([1.0, n]),
            np.array([[1], [n]]),
            np.array([1, n, "x"], dtype=object),
            np.int8(n),
            pd.Timestamp(2020, 1, n),
        ]

    for left, right, other in zip(makers(2), makers(2), makers(3), strict=True):
        assert code_of(left) == code_of(right)
        assert code_of(left) != code_of(other)
        assert code_of(left).unknown == ()
    assert len({code_of(each).digest for each in makers(2)}) == len(makers(2))
    turned = np.arange(6).reshape(2, 3).T
    assert code_of(turned) == code_of(turned.copy())


def test_circles_end_and_do_not_depend_on_what_else_was_looked_at():
    cell = """
def even(n): return True if n == 0 else odd(n - 1)
def odd(n): return END if n == 0 else even(n - 1)
END = False
def f(n): return even(n)
"""
    f = written(cell)
    even, odd = f.__globals__["even"], f.__globals__["odd"]
    codes = Codes()
    assert [codes.of(each) for each in (f, odd, even)] == [code_of(each) for each in (f, odd, even)]
    assert len({code_of(each) for each in (f, odd, even)}) == 3
    assert code_of(f) == code_of(written(cell))
    for old, new in (("END = False", "END = None"), ("odd(n - 1)", "odd(n - 2)")):
        edited = cell.replace(old, new)
        for name in ("f", "even", "odd"):
            assert code_of(written(cell, name)) != code_of(written(edited, name))


def test_a_change_in_a_large_circle_is_a_change_of_all_its_functions():
    cell = "".join(f"def f{n}(x): return f{(n + 1) % 20}(x - {n % 2})\n" for n in range(20))
    edited = cell.replace("f11(x - 0)", "f11(x - 7)")
    assert edited != cell
    for n in range(20):
        name = f"f{n}"
        assert code_of(written(cell, name)) == code_of(written(cell, name))
        assert code_of(written(cell, name)) != code_of(written(edited, name))


def test_long_chains_and_much_that_is_shared_are_looked_at_once():
    chain = "".join(f"def f{n}(x): return f{n - 1}(x)\n" for n in range(1, 3000))
    cell = "def f0(x): return K\nK = 1\n" + chain + "f = f2999"
    assert digest(cell) == digest(cell)
    assert digest(cell) != digest(cell.replace("K = 1", "K = 2"))

    def make(end):
        fn = lambda: end
        for _ in range(60):
            fn = (lambda a, b: lambda: a() + b())(fn, fn)
        return fn

    assert code_of(make(0)) == code_of(make(0)) != code_of(make(1))


def test_what_holds_itself_is_no_error():
    def make(n):
        itself = [n]
        itself.append(itself)
        node = samples.Slotted(itself)
        itself.append(node)
        return node

    assert code_of(make(1)) == code_of(make(1)) != code_of(make(2))
    deep = samples.deeply_nested()
    while len(deep) > 1 or (deep and deep[0]):
        deep = deep[0]
    assert code_of(deep) == code_of([[]])


def test_what_cannot_be_looked_into_is_named():
    lock = threading.Lock()
    cell = "import threading\nL = threading.Lock()\ndef f(): return L"
    with open(os.devnull) as file:

        def f(x, out=file):
            with lock:
                return x

        assert code_of(f).unknown == ("0. default, a TextIOWrapper", "closed over lock, a lock")
    assert code_of(written(cell)).unknown == ("global L, a lock",)
    assert code_of(written(cell)) == code_of(written(cell))
    assert code_of([lock]).unknown == ("lock",)
    assert code_of([[lock], len]).unknown == ("lock",)


@pytest.mark.parametrize(
    "make",
    [
        lambda: samples.BadEverything(),
        lambda: samples.BadAttributes(),
        lambda: samples.BadClass(),
        lambda: samples.BadClass,
        lambda: samples.BadList([1]),
        lambda: samples.BadDict(a=1),
        lambda: samples.BadText("a"),
        lambda: samples.BadNumber(1),
        lambda: samples.BadFrame({"a": [1]}),
        lambda: samples.Level.HIGH,
        lambda: (each for each in ()),
        lambda: sys,
        lambda: sys.modules[__name__],
        lambda: type,
        lambda: NotImplemented,
        lambda: threading.local(),
        lambda: b"x",
        lambda: 1j,
        lambda: float("nan"),
    ],
)
def test_anything_has_a_digest(make):
    value = make()
    assert code_of(value) == code_of(value)
    assert len(code_of(value).digest) == 32


class Flavour(enum.Enum):
    SWEET = 1
    SOUR = 2


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from([2**80, 0.0, -0.0, 1.0, float("nan"), -float("nan"), 1j, "", "1", b"1"])
    | st.sampled_from([Flavour.SWEET, Flavour.SOUR, len, ..., 1 + float("nan") * 1j])
    | st.floats(),
    lambda each: (
        st.lists(each, max_size=3)
        | st.lists(each, max_size=3).map(tuple)
        | st.frozensets(st.integers(0, 3) | st.sampled_from(["a", "b", (1, Flavour.SOUR)]))
        | st.sets(st.integers(0, 3) | st.sampled_from(["a", "b"]))
        | st.dictionaries(st.integers(0, 2) | st.sampled_from(["a", True]), each, max_size=3)
    ),
    max_leaves=6,
)


def canonical(value):
    """Say what a value is, in another way than the code that is tested."""
    kind = type(value).__name__
    if isinstance(value, (list, tuple)):
        return f"{kind}({', '.join(map(canonical, value))})"
    if isinstance(value, (set, frozenset)):
        return f"{kind}({', '.join(sorted(map(canonical, value)))})"
    if isinstance(value, dict):
        return f"{kind}({', '.join(f'{canonical(k)}: {canonical(v)}' for k, v in value.items())})"
    return f"{kind}({value!r})"


@example(float("nan"), -float("nan"))
@example([float("nan")], [-float("nan")])
@example([len, float("nan")], [len, -float("nan")])
@example((complex(0, float("nan")),), (complex(0, -float("nan")),))
@example([1], [True])
@given(_VALUES, _VALUES)
def test_values_have_one_digest_if_they_are_the_same_value(left, right):
    same = canonical(left) == canonical(right)
    assert (code_of(left) == code_of(right)) == same
    # Whatever is around them, and whether it is one object or two.
    assert (code_of([left, left, len]) == code_of([left, right, len])) == same


@given(_VALUES)
def test_a_value_that_was_copied_has_the_same_digest(value):
    assert code_of(copy.deepcopy(value)) == code_of(value)
    assert code_of([copy.deepcopy(value), value]) == code_of([value, value])


SCRIPT = """
import dataclasses, enum, functools, math, re, logging, json
import numpy as np, pandas as pd
from nbflow import step
from nbflow.sketch.codes import code_of
LOG, PATTERN, TABLE = logging.getLogger("x"), re.compile("a+"), pd.DataFrame({"a": ["x", None]})
WORDS = {"eu", "us", "asia", "africa"}
class Kind(enum.Enum):
    A = "a"
    B = frozenset({"p", "q", "r"})
    C, D, E, F = "cdef"
KINDS = set(Kind)
@dataclasses.dataclass
class Config:
    kind: Kind = Kind.A
    words: frozenset = frozenset(WORDS)
@functools.lru_cache
def slow(x): return [each for each in x if each in {"p", "q", "r", "s"}]
@step
def other(x): return slow(x)
def f(x, config=Config(), array=np.arange(5.0)):
    LOG.info(PATTERN.match(x), TABLE)
    return KINDS, other(x), Config, json.dumps({each: Kind.B for each in WORDS}), pd.concat([x])
code = code_of(f)
assert not code.unknown, code
print(code.digest)
"""


def interpreted(source: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", source],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_a_digest_is_the_same_in_every_process():
    digests = {interpreted(SCRIPT, PYTHONHASHSEED=seed) for seed in ("1", "2")}
    assert len(digests) == 1
    assert len(digests.pop()) == 32


def test_code_of_a_local_module_is_followed_as_far_as_it_is_used(tmp_path):
    source = "import beside\nfrom nbflow.sketch.codes import code_of\n"
    source += "def f(x): return beside.clean(x)\nprint(code_of(f))"
    file = tmp_path / "beside.py"

    def found(text: str) -> str:
        file.write_text(text)
        return interpreted(source, PYTHONPATH=str(tmp_path), PYTHONDONTWRITEBYTECODE="1")

    first = found("N = 1\ndef clean(x): return x + N\ndef other(): pass\n")
    assert first == found("# Words.\nN = 1\ndef clean(x): return x + N\ndef other(): return 1\n")
    assert first != found("N = 2\ndef clean(x): return x + N\ndef other(): pass\n")
    assert first != found("N = 1\ndef clean(x): return x - N\ndef other(): pass\n")


def test_a_local_module_that_a_function_imports_counts_by_its_source(tmp_path):
    source = """
from nbflow.sketch.codes import code_of
def f(x):
    import pack.beside
    import json
    return pack.beside.clean(x)
print(code_of(f))
f(1)
print(code_of(f))
"""
    (tmp_path / "pack").mkdir()
    file = tmp_path / "pack" / "beside.py"

    def found(text: str) -> str:
        file.write_text(text)
        lines = interpreted(source, PYTHONPATH=str(tmp_path), PYTHONDONTWRITEBYTECODE="1")
        before, after = lines.splitlines()
        # To have imported it is not to have changed it.
        assert before == after
        return before

    first = found("def clean(x): return x")
    assert first == found("def clean(x): return x")
    assert first != found("def clean(x): return -x")


def test_what_is_installed_counts_by_its_name_and_version(tmp_path):
    folder = tmp_path / "site-packages"
    about = folder / "grinder-1.0.dist-info"
    about.mkdir(parents=True)
    source = """
import grinder
from nbflow.sketch.codes import code_of
def f(x): return grinder.grind(x)
print(code_of(f), code_of(grinder.grind), code_of(grinder.Mill), code_of(grinder.Mill()))
"""

    def found(version: str, text: str) -> list[str]:
        metadata = f"Metadata-Version: 2.1\nName: grinder\nVersion: {version}"
        (about / "METADATA").write_text(metadata)
        (folder / "grinder.py").write_text(text + "\nclass Mill: pass")
        out = interpreted(source, PYTHONPATH=str(folder), PYTHONDONTWRITEBYTECODE="1")
        return out.split(") Code(")

    first = found("1.0", "def grind(x): return x")
    assert first == found("1.0", "def grind(x): return -x")
    other = found("1.1", "def grind(x): return x")
    assert len(first) == 4
    assert all(mine != its for mine, its in zip(first, other, strict=True))
