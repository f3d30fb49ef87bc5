"""A step is its function, with options, and never changes."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from nbflow import (
    Flow,
    FlowError,
    Retry,
    SignatureError,
    Step,
    UnsupportedError,
    context,
    step,
)


@step
def add(x: int, y: int = 1) -> int:
    """Add two numbers."""
    return x + y


def triple(x):
    return 3 * x


class Scale:
    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        return self.by * x

    def scaled(self, x):
        return self.by * x


# A step as a function


def test_a_call_is_the_functions_own():
    assert add(1) == 2
    assert add(1, y=5) == 6
    with pytest.raises(TypeError, match="missing 1 required"):
        add()


def test_it_keeps_name_docstring_and_signature():
    assert (add.__name__, add.__doc__, add.__module__) == ("add", "Add two numbers.", __name__)
    assert str(inspect.signature(add)) == "(x: 'int', y: 'int' = 1) -> 'int'"
    assert add.__wrapped__ is add.fn
    assert inspect.unwrap(add) is add.fn
    assert callable(add)


def test_bare_with_parentheses_and_with_options():
    @step()
    def one():
        return 1

    @step(name="two", fuse=False, priority=3, tags=("slow", "eu"), resources={"GPU": 1})
    def second():
        return 2

    assert (one.name, one()) == ("one", 1)
    options = second.definition.options
    assert (second.name, second(), options.fuse, options.priority) == ("two", 2, False, 3)
    assert (options.tags, options.resources) == (("slow", "eu"), {"GPU": 1})
    assert options.isolated


@pytest.mark.parametrize(
    ("fn", "name", "given", "value"),
    [
        (triple, "triple", 2, 6),
        (lambda x: x + 1, "lambda", 2, 3),
        (functools.partial(triple), "triple", 2, 6),
        (functools.partial(functools.partial(pow, 2), mod=5), "pow", 4, 1),
        (Scale(4), "Scale", 2, 8),
        (Scale(4).scaled, "scaled", 2, 8),
        (len, "len", "abc", 3),
        (str.upper, "upper", "a", "A"),
        ("a-b".replace, "replace", None, None),
        (int, "int", "12", 12),
        (Scale, "Scale", 2, None),
        (max, "max", [1, 3], 3),
        (dict, "dict", [(1, 2)], {1: 2}),
        (pd.DataFrame, "DataFrame", {"a": [1]}, None),
    ],
)
def test_any_callable_is_a_step(fn, name, given, value):
    made = step(fn)
    assert made.name == name
    if value is not None:
        assert made(given) == value
        assert ([given] >> step(lambda each: each[0]) >> made).call() == value
        assert made.s(given).call() == value


def test_a_library_function_is_a_step(tmp_path):
    (tmp_path / "a.csv").write_text("n\n1\n2\n")
    assert step(pd.read_csv).s(tmp_path / "a.csv").call()["n"].tolist() == [1, 2]
    assert inspect.signature(step(pd.read_csv)) == inspect.signature(pd.read_csv)


def test_a_decorated_method_binds_as_a_method_does():
    class Table:
        rows = 3

        @step
        def count(self, extra):
            return self.rows + extra

        @staticmethod
        @step
        def plain(x):
            return x

    assert Table().count(2) == 5
    assert isinstance(Table.count, Step)
    assert Table.plain(4) == 4


def test_an_async_function_is_a_step():
    @step
    async def later(x):
        await asyncio.sleep(0)
        return x + 1

    assert asyncio.run(later(1)) == 2
    assert (1 >> later >> later).call() == 3


# What cannot be a step


@pytest.mark.parametrize("value", [5, "name", [len], {"a": 1}, object(), b"x", 1.5])
def test_what_cannot_be_called_is_no_step(value):
    with pytest.raises(FlowError, match=rf"{type(value).__name__}, not a function"):
        step(value)


def test_a_flow_is_no_step():
    with pytest.raises(FlowError, match="flow already"):
        step(add.s(1))


def numbers():
    yield 1


async def later_numbers():
    yield 1


class Emitter:
    def emit(self):
        yield 1


@pytest.mark.parametrize(
    "fn",
    [
        numbers,
        later_numbers,
        functools.partial(numbers),
        functools.partial(functools.partial(later_numbers)),
        Emitter().emit,
        lambda: (yield),
    ],
)
def test_a_generator_function_is_refused(fn):
    with pytest.raises(FlowError, match="generator function.*return the list"):
        step(fn)
    with pytest.raises(FlowError, match="generator function"):
        add.s(1) >> fn


def test_a_decorator_may_collect_what_a_generator_yields():
    def listed(fn):
        @functools.wraps(fn)
        def wrapper(*args):
            return list(fn(*args))

        return wrapper

    assert step(listed(numbers)).call() == [1]
    assert step(listed(numbers)).name == "numbers"


# Options


@pytest.mark.parametrize(
    ("options", "meant"),
    [({"fused": True}, "fuse"), ({"retries": 2}, "retry"), ({"tag": "x"}, "tags")],
)
def test_an_unknown_option_suggests_the_right_one(options, meant):
    for refuse in (lambda: step(triple, **options), lambda: step(**options)(triple)):
        with pytest.raises(FlowError, match=f"did you mean '{meant}'"):
            refuse()
    with pytest.raises(FlowError, match=f"did you mean '{meant}'"):
        add.options(**options)
    with pytest.raises(FlowError, match=f"did you mean '{meant}'"):
        add.s(1).options(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"cache": True},
        {"cache": 0},
    ],
)
def test_an_option_that_does_not_work_yet_says_so(options):
    (name,) = options
    for refuse in (step, add.options, add.s(1).options):
        args = (triple,) if refuse is step else ()
        with pytest.raises(UnsupportedError, match=f"'{name}' does not work in this version"):
            refuse(*args, **options)


def test_the_defaults_of_those_options_may_be_written():
    plain = step(triple, compensate=None, effect=False, cache=False, checkpoint="auto")
    assert plain == step(triple)
    options = {"retry": 0, "timeout": None, "when": None, "lock": None, "isolation": None}
    assert step(triple, **options) == step(triple)
    assert step(triple, **options).definition.options.plain


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"retry": 3}, Retry(attempts=4)),
        ({"retry": Retry(attempts=2, on=OSError)}, Retry(attempts=2, on=(OSError,))),
        ({"retry": np.int64(1)}, Retry(attempts=2)),
        ({"timeout": 5}, 5.0),
        ({"timeout": 0.25}, 0.25),
        ({"timeout": np.int64(5)}, 5.0),
        ({"when": bool}, (bool,)),
        ({"when": (bool, callable)}, (bool, callable)),
        ({"lock": "warehouse"}, "warehouse"),
        ({"lock": "café"}, "café"),
        ({"isolation": "process"}, "process"),
        ({"priority": np.int64(3)}, 3),
    ],
)
def test_an_option_is_kept_and_makes_another_step(options, kept):
    (name,) = options
    made = step(triple, **options)
    assert getattr(made.definition.options, name) == kept
    assert not made.definition.options.plain or name == "priority"
    assert made == step(**options)(triple) == step(triple).options(**options)
    assert hash(made) == hash(step(triple).options(**options))
    assert made != step(triple)
    assert (repr(made), made(2)) == ("Step(triple)", 6)
    back = made.options(**{name: 0 if name in ("retry", "priority") else None})
    assert back == step(triple)


@pytest.mark.parametrize(
    "options", [{"retry": 3}, {"timeout": 5}, {"when": bool}, {"lock": "warehouse"}]
)
def test_an_option_changes_nothing_where_nothing_fails(options):
    made = step(triple, **options)
    assert (1 >> made >> made).call() == 9
    assert (1 >> step(triple) >> triple).options(**options).call() == 9
    assert made.map([1, 2]).call() == [3, 6]


def test_a_step_is_tried_again_as_often_as_its_policy_says():
    attempts = []

    @step(retry=Retry(attempts=3, on=OSError, wait=0))
    def unsteady(fails):
        attempts.append(context().attempt)
        if len(attempts) <= fails:
            raise OSError(f"attempt {len(attempts)}")
        return len(attempts)

    assert unsteady.s(2).call() == 3
    assert attempts == [1, 2, 3]
    attempts.clear()
    with pytest.raises(OSError, match="attempt 3"):
        unsteady.s(9).call()
    attempts.clear()
    with pytest.raises(OSError, match="attempt 1"):
        unsteady.options(retry=None).s(9).call()
    attempts.clear()
    with pytest.raises(OSError, match="attempt 1"):
        unsteady.options(retry=Retry(attempts=3, on=KeyError)).s(9).call()


def test_a_step_that_takes_too_long_is_stopped():
    @step(timeout=0.05)
    def endless():
        while True:
            pass

    with pytest.raises(TimeoutError, match="'endless' took longer than 0.05 s"):
        endless.s().call()


@pytest.mark.parametrize(
    ("flow", "value"),
    [
        (lambda when: 5 >> step(triple, when=when), 15),
        (lambda when: 1 >> step(triple, when=when), None),
        (lambda when: 1 >> step(triple, when=when) >> str, None),
        (lambda when: [1 >> step(triple, when=when), 4] >> step(list), [4]),
        (lambda when: step(triple, when=when).map([1, 5, 2, 7]), [15, 21]),
        (lambda when: step(triple, when=when).s(5), 15),
        (lambda when: step(triple, when=when).s(x=1), None),
        (lambda when: step(triple, when=(when, lambda x: x < 7)).map([1, 5, 7]), [15]),
    ],
)
def test_a_step_runs_only_when_its_predicates_hold(flow, value):
    assert flow(lambda x: x > 3).call() == value


@pytest.mark.parametrize(
    "options",
    [
        {"fuse": "no"},
        {"fuse": None},
        {"fuse": 1},
        {"priority": "high"},
        {"priority": 1.5},
        {"priority": True},
        {"resources": "GPU"},
        {"resources": {"GPU": 0}},
        {"resources": {"GPU": -1}},
        {"resources": {"GPU": float("nan")}},
        {"resources": {"GPU": "1"}},
        {"resources": {1: 1}},
        {"resources": ["GPU"]},
        {"tags": 5},
        {"tags": True},
        {"tags": [1]},
        {"tags": {"a": 1}},
    ],
)
def test_a_wrong_value_names_the_option_and_what_it_must_be(options):
    (name,) = options
    with pytest.raises(FlowError, match=f"'{name}' is .*must be"):
        step(triple, **options)


def test_one_tag_may_be_a_word():
    assert step(triple, tags="eu").definition.options.tags == ("eu",)
    assert step(triple, tags=["a", "b"]).definition.options.tags == ("a", "b")
    assert step(triple, tags=None).definition.options.tags == ()


@pytest.mark.parametrize(
    "options",
    [
        {"chunk_size": 1},
        {"chunk_size": np.int64(2)},
        {"max_concurrency": 2},
        {"on_error": "collect"},
        {"on_error": "collect", "max_concurrency": 2, "chunk_size": 3, "key": ["a", "b", "c"]},
        {"key": str},
        {"key": ["a", "b", "c"]},
        {"key": np.array([2011, 2012, 2013])},
    ],
)
def test_map_options_change_the_flow_but_not_its_value(options):
    mapped = step(triple).map([1, 2, 3], **options)
    assert mapped.call() == [3, 6, 9]
    assert mapped == step(triple).map([1, 2, 3], **options)
    assert mapped != step(triple).map([1, 2, 3])
    assert (repr(mapped), mapped.steps) == ("Flow(triple)", ["triple"])
    assert cloudpickle.loads(cloudpickle.dumps(mapped)) == mapped


def test_map_options_that_say_nothing_are_none_at_all():
    bare = step(triple).map([1])
    nothing = {"chunk_size": None, "max_concurrency": None, "on_error": None, "key": None}
    assert step(triple).map([1], **nothing) == bare
    assert step(triple).map([1], on_error="raise") == bare


def test_a_map_goes_over_what_comes_later():
    thrice, numbers = step(triple), step(range).s(3)
    for flow in (
        numbers >> thrice.map(),
        thrice.map(numbers),
        numbers >> thrice.s().map(),
        step(lambda: [(0,), (1,), (2,)], name="tuples") >> thrice.starmap(),
    ):
        assert flow.call() == [0, 3, 6]
    assert thrice.map().call([0, 1, 2]) == [0, 3, 6]
    assert (numbers >> thrice.map()) == thrice.map(numbers)


# Copies and immutability


def test_options_and_named_are_copies():
    other = add.options(fuse=False)
    tidy = add.named("tidy")
    assert add.definition.options.fuse
    assert not other.definition.options.fuse
    assert (add.name, tidy.name, tidy(1)) == ("add", "tidy", 2)
    assert tidy.fn is add.fn
    assert other.named("x").definition.options == other.definition.options
    assert add.options(name="n").name == "n"


def test_a_step_cannot_be_changed():
    for name in ("name", "definition", "fn", "__name__", "anything", "_node"):
        with pytest.raises(AttributeError, match="cannot be changed"):
            setattr(add, name, 1)
    with pytest.raises(AttributeError, match="cannot be changed"):
        del add.definition


def test_equality_is_of_function_name_and_options():
    def make(n):
        @step
        def plus(x):
            return x + n

        return plus

    assert make(1) == make(1)
    assert hash(make(1)) == hash(make(1))
    assert make(1) != make(2)
    assert make(1) != make(1).named("other")
    assert make(1) != make(1).options(fuse=False)
    assert make(1) != 5
    assert len({make(1), make(1), make(2)}) == 2


def test_a_step_equals_its_bare_flow_and_shares_its_hash():
    flow = step([].append).s()
    assert add == Flow(add._node)
    assert Flow(add._node) == add
    assert hash(add) == hash(Flow(add._node))
    assert flow != add


def test_a_step_has_no_truth_and_no_elements():
    for refuse in (bool, iter, list, lambda each: not each):
        with pytest.raises(SignatureError, match="value"):
            refuse(add)


def test_repr_is_short():
    assert repr(add) == "Step(add)"
    assert len(repr(add.named("x" * 3000))) < 100


def test_copies_and_pickles_are_equal():
    for other in (
        copy.copy(add),
        copy.deepcopy(add),
        cloudpickle.loads(cloudpickle.dumps(add)),
    ):
        assert other == add
        assert hash(other) == hash(add)
        assert other(1, 2) == 3
        assert (other.__name__, other.__doc__) == ("add", "Add two numbers.")
        assert (1 >> other >> add).steps == ["add", "add_2"]


def test_a_step_that_knows_itself_can_be_compared_and_pickled():
    def make():
        @step
        def factorial(n):
            return n * factorial(n - 1) if n else 1

        return factorial

    assert make() == make()
    assert cloudpickle.loads(cloudpickle.dumps(make()))(5) == 120
    flow = cloudpickle.loads(cloudpickle.dumps(4 >> make()))
    assert flow.call() == 24


def test_a_pickled_step_is_still_the_node_of_its_flows():
    one, flow = cloudpickle.loads(cloudpickle.dumps((add, add >> triple)))
    assert ([one, flow] >> step(list)).steps == ["add", "triple", "list"]
