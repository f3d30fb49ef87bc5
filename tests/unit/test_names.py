"""Names, numbers, and two functions of one name."""

from __future__ import annotations

import functools
import re

import pytest

from nbflow import FlowError, UnknownStepError, group, param, step
from nbflow.running.run import is_run_id, new_run_id

NL = "\n"

EMPTY = [
    "",
    " ",
    "\t\n",
    "\0",
    "a\0b",
]
HOSTILE = [
    'it\'s "quoted"',
    "<script>alert(1)</script>",
    "two\nlines",
    "\u202eright to left\u202c",
    "x" * 3000,
    "emoji 🐘",
    "back\\slash",
    "a->b; {rank=same}",
    "%s {0} {name}",
    "{{ jinja }}",
    "&amp;",
    "\x1b[31mred",
    "clean_2",
    "None",
]


def clean_step():
    @step
    def clean(x=0):
        return x

    return clean


def source(text, name="clean"):
    space: dict[str, object] = {}
    exec(compile(text, f"<cell {text!r}>", "exec"), space)
    return step(space[name])


clean = clean_step()


def test_the_same_step_again_is_numbered_in_order_of_appearance():
    assert (clean >> clean >> clean).steps == ["clean", "clean_2", "clean_3"]
    assert group(*(clean.s(n) for n in range(3))).steps == ["clean", "clean_2", "clean_3"]
    assert group(clean, clean).steps == ["clean"]


def test_names_are_unique_even_where_a_function_is_really_named_so():
    @step
    def clean_2(x):
        return x

    assert (clean >> clean >> clean_2).steps == ["clean", "clean_3", "clean_2"]
    assert (clean >> clean_2 >> clean).steps == ["clean", "clean_2", "clean_3"]
    steps = (clean >> clean_2 >> clean >> clean_2 >> clean >> clean_2).steps
    assert len(set(steps)) == 6
    assert steps[:2] == ["clean", "clean_2"]


def test_numbers_do_not_depend_on_who_looked_first():
    a, b = clean.s(1), clean.s(2)
    assert a.steps == b.steps == ["clean"]
    assert group(b, a).steps == ["clean", "clean_2"]
    assert (group(b, a)["clean"].call(), group(b, a)["clean_2"].call()) == (2, 1)


def test_named_gives_a_name_of_its_own():
    flow = clean >> clean.named("tidy") >> clean.named("tidy")
    assert flow.steps == ["clean", "tidy", "tidy_2"]
    assert flow["tidy_2"].call() == 0


def test_lambdas_share_their_name():
    flow = 1 >> step(lambda x: x + 1) >> (lambda x: x * 10) >> (lambda x: x - 1)
    assert flow.steps == ["lambda", "lambda_2", "lambda_3"]
    assert flow.call() == 19


def test_an_identical_function_defined_again_is_the_same():
    text = "def clean(x, y=1, *, z=(2, 'a')):\n    return [w + y for w in x if w != z]"
    flow = [1] >> source(text) >> source("\n\n" + text)
    assert flow.steps == ["clean", "clean_2"]
    assert flow.call() == [3]
    assert (3 >> clean_step() >> clean_step()).call() == 3


@pytest.mark.parametrize(
    "edited",
    [
        "def clean(x): return x + 2",
        "def clean(x): return x - 1",
        "def clean(x, y=None): return x + 1",
        "def clean(x, *, y=None): return x + 1",
        "def clean(*x): return x + 1",
        "async def clean(x): return x + 1",
        "def clean(x): return x + 1.0",
        "def clean(x): return x + True",
        "def clean(x): return other(x) + 1",
    ],
)
def test_an_edited_function_is_an_error_with_both_places(edited):
    first, second = source("def clean(x): return x + 1"), source(NL * 4 + edited)
    for write in (
        lambda: first >> second,
        lambda: [first.s(1), second.s(1)] >> step(list),
        lambda: group(first.s(1), second.s(1)),
        lambda: (first >> step(list)) >> [second],
        lambda: step(max).s(first.s(1), second.s(1)),
        lambda: first.map([second.s(1)]),
    ):
        with pytest.raises(FlowError, match="two different functions are named 'clean'") as caught:
            write()
        message = str(caught.value)
        assert re.search(r"line 1\b", message)
        assert re.search(r"line 5\b", message)
        assert ".named('clean_2')" in message
        assert message.count("<cell") == 2
    assert (first >> second.named("clean_2")).steps == ["clean", "clean_2"]


def test_parameters_and_the_guarded_part_are_looked_at():
    left = "def clean(x):\n try:\n  x = f(x)\n  x = g(x)\n except E: x = 1\n return x"
    right = "def clean(x):\n x = f(x)\n try:\n  x = g(x)\n except E: x = 1\n return x"
    with pytest.raises(FlowError, match="two different"):
        source(left) >> source(right)
    with pytest.raises(FlowError, match="two different"):
        source("def clean(x, y=0): return x") >> source("def clean(x, *, y=0): return x")
    with pytest.raises(FlowError, match="two different"):
        source("def clean(x): return -0.0") >> source("def clean(x): return 0.0")


def test_closures_over_different_values_differ():
    def make(value):
        @step
        def scale(x):
            return (x, value)

        return scale

    assert (1 >> make(2) >> make(2)).steps == ["scale", "scale_2"]
    assert (1 >> make([1, {"a": (2,)}]) >> make([1, {"a": (2,)}])).steps == ["scale", "scale_2"]
    nan = float("nan")
    assert (1 >> make(nan) >> make(float("nan"))).steps == ["scale", "scale_2"]
    for other in (3, 2.0, "2", None, [2]):
        with pytest.raises(FlowError, match="two different functions are named 'scale'"):
            1 >> make(2) >> make(other)


def test_a_clash_is_found_however_far_apart():
    first, second = source("def clean(x): return 1"), source("def clean(x): return 2")
    left, right = first.s(0), second.s(0)
    for _ in range(50):
        left, right = left >> str, right >> str
    with pytest.raises(FlowError, match="two different"):
        [left, right] >> step(list)


def test_a_sister_flow_is_no_clash():
    first, second = source("def clean(x): return 1"), source("def clean(x): return 2")
    raw = step(lambda: 0)
    one, two = raw >> first, raw >> second
    assert (one.steps, two.steps) == (["lambda", "clean"], ["lambda", "clean"])
    assert (one >> str).call() == "1"
    assert (two >> str).call() == "2"
    with pytest.raises(FlowError, match="two different"):
        [one, two] >> step(list)
    # The refused expression left nothing behind.
    assert (one >> str).call() == "1"
    assert (raw >> second >> str).call() == "2"


def test_partials_of_one_function():
    def scale(by, x):
        return by * x

    assert (1 >> step(functools.partial(scale, 2)) >> functools.partial(scale, 2)).call() == 4
    with pytest.raises(FlowError, match="two different functions are named 'scale'") as caught:
        1 >> step(functools.partial(scale, 2)) >> functools.partial(scale, 3)
    assert __file__ in str(caught.value)


def test_steps_of_one_function_with_other_options_are_one_function():
    assert (clean >> clean.options(fuse=False)).steps == ["clean", "clean_2"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_only_a_name(name):
    odd = clean.named(name)
    flow = 5 >> odd >> odd
    assert flow.steps == [name, f"{name}_2"] or flow.steps == [name, name + "_2"]
    assert flow.call() == 5
    assert name in flow
    assert flow[name].call() == 5
    for shown in (repr(odd), repr(flow), repr(flow[name]), repr(flow.named(name))):
        assert "\n" not in shown
        assert len(shown) < 300
    assert flow.named(name).name == name
    assert clean.options(name=name).name == step(clean.fn, name=name).name == name
    assert param(name, 1).name == name
    with pytest.raises(UnknownStepError) as caught:
        flow["no such step"]
    assert "\n" not in str(caught.value)


def test_a_function_with_a_hostile_name_of_its_own():
    def fn():
        return 1

    fn.__name__ = "<b>'\n"
    assert step(fn).name == "<b>'\n"
    fn.__name__ = ""
    with pytest.raises(FlowError, match="blank"):
        step(fn)
    assert step(fn, name="good").name == "good"


@pytest.mark.parametrize("name", [*EMPTY, None, 5, b"x", ["a"], ("a",)])
def test_a_name_must_be_readable(name):
    for give in (
        clean.named,
        clean.s(1).named,
        lambda name: clean.options(name=name),
        lambda name: param(name, 1),
    ):
        with pytest.raises(FlowError, match="name"):
            give(name)
    if name is not None:
        with pytest.raises(FlowError, match="name"):
            step(clean.fn, name=name)


def test_an_unknown_step_suggests_the_right_one():
    flow = clean >> clean >> step(list)
    with pytest.raises(UnknownStepError, match="did you mean 'clean'"):
        flow["claen"]
    with pytest.raises(KeyError, match="'clean', 'clean_2', 'list'"):
        flow["zzz"]
    for other in (0, None, ["clean"], slice(1)):
        with pytest.raises(UnknownStepError):
            flow[other]


def test_half_a_character_in_a_name_is_refused():
    with pytest.raises(FlowError, match="lone surrogate"):
        step(len, name="a\ud800b")


def test_an_id_that_is_made_up_is_known_for_one() -> None:
    assert is_run_id(new_run_id())
    # As they were before.
    assert is_run_id("20261121-203007-1a2b")
    assert not is_run_id("20261121-3")
