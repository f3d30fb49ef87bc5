"""A call that cannot fit is an error at the >>, and says what was meant."""

from __future__ import annotations

import functools
import itertools

import pytest

from nbflow import SignatureError, starmap, step
from nbflow.algebra.signature import Arity


@step
def raw():
    return 1


@step
def one(x):
    return x


@step
def two(left, right):
    return left, right


@step
def keyword(x, *, how):
    return x, how


@step
def nothing():
    return None


def shape(a, b=1, /, c=2, *d, e, f=3, **g):
    return a, b, c, d, e, f, g


CALLS = [
    (0, ()),
    (1, ()),
    (1, ("e",)),
    (2, ("e",)),
    (1, ("c", "e")),
    (3, ("c", "e")),
    (1, ("a", "e")),
    (0, ("a", "e")),
    (5, ("e", "f")),
    (1, ("e", "other")),
    (4, ("e", "b")),
    (2, ("x",)),
    (2, ("y",)),
    (1, ("y",)),
    (0, ("x", "y")),
    (3, ()),
]


@pytest.mark.parametrize(
    "fn",
    [
        shape,
        lambda: None,
        lambda x: None,
        lambda x, y: None,
        lambda x, y=0: None,
        lambda x, /, y: None,
        lambda x, /, **x2: None,
        lambda x, *, y: None,
        lambda x, *, y=0: None,
        lambda *x: None,
        lambda **x: None,
        lambda *x, y: None,
        lambda a, /, **k: None,
        lambda a, /, e, **k: None,
        functools.partial(lambda x, y, z: None, 1),
        functools.partial(lambda x, y, z: None, y=1),
    ],
)
def test_it_says_of_a_call_what_python_says(fn):
    import inspect

    arity = Arity.of(fn)
    for count, names in CALLS:
        try:
            inspect.signature(fn).bind(*range(count), **dict.fromkeys(names))
            fits = True
        except TypeError:
            fits = False
        found = not arity.missing(count, names) and arity.surplus(count, names) is None
        assert found is fits, (count, names)


def test_a_callable_that_hides_its_signature_takes_anything():
    for fn in (max, dict, itertools.chain, type("C", (), {"__signature__": 5, "__init__": None})):
        arity = Arity.of(fn)
        if not arity.known:
            assert arity.missing(0, ()) == ()
            assert arity.surplus(9, ("x",)) is None
    assert not Arity.of(max).known
    assert ([3, 4] >> step(max)).call() == 4
    assert step(max).s([1, 2]).call() == 2
    assert (3 >> step(max).s(9)).call() == 9
    assert step(dict).si().call() == {}
    assert step(max).call([5, 6]) == 6


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda: raw >> nothing, ["'nothing'", "gets 1", "nothing.si()"]),
        (lambda: raw >> two, ["'two'", "lacks 'right'", "two.s(", "tuple", "dict"]),
        (lambda: [raw, raw] >> two, ["'two'", "lacks 'right'", "tuple"]),
        (lambda: (raw, raw) >> one, ["'one'", "takes 1 positional (x), and gets 2", "list"]),
        (lambda: {"y": raw} >> one, ["'one'", "no parameter 'y'", "dict"]),
        (lambda: {"left": raw} >> two, ["'two'", "lacks 'right'"]),
        (lambda: {"left": raw} >> two.s(left=2), ["two values for 'left'", "dict", ".s()"]),
        (lambda: (raw, raw) >> two.s(right=1), ["two values for 'right'"]),
        (lambda: raw >> one.s(2), ["gets 2", "one.si()"]),
        (lambda: raw >> two.s(left=2), ["two values for 'left'", "two.si()"]),
        (lambda: raw >> keyword, ["'keyword'", "lacks 'how'", "keyword.s("]),
        (lambda: raw >> one.si(), ["one", ".si()", "lacks 'x'", ".s()"]),
        (lambda: two.si(1), ["lacks 'right'"]),
        (lambda: one.s(1, 2), ["takes 1 positional (x), and gets 2", __file__]),
        (lambda: one.s(z=2), ["no parameter 'z'", __file__]),
        (lambda: nothing.s(1), ["takes no positional argument, and gets 1"]),
        (lambda: nothing.map([1]), ["takes no positional argument, and gets 1"]),
        (lambda: raw >> one.map([1]), ["gets 2"]),
        (lambda: starmap(one, [(1, 2)]), ["gets 2"]),
        (lambda: two.starmap([(1,), (1, 2)]), ["[1, 2]", "one length"]),
        (lambda: raw >> len >> nothing, ["'nothing'", "nothing.si()"]),
        (lambda: raw >> (nothing >> one), ["'nothing'", ".si()"]),
        (lambda: raw >> [one, two], ["'two'", "lacks 'right'"]),
        (lambda: 1 >> one.s(2), ["gets 2"]),
        (lambda: () >> one, ["lacks 'x'"]),
        (lambda: {} >> one, ["lacks 'x'"]),
    ],
)
def test_a_call_that_cannot_fit_says_what_was_meant(write, words):
    with pytest.raises(SignatureError) as caught:
        write()
    for word in words:
        assert word in str(caught.value)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


def test_a_call_may_be_completed_later():
    assert (1 >> two.s(2)).call() == (1, 2)
    assert (1 >> two.s(right=2)).call() == (1, 2)
    assert ({"right": 2} >> two.s(1)).call() == (1, 2)
    assert (1 >> keyword.s(how="x")).call() == (1, "x")
    assert two.s(right=2).call(1) == (1, 2)


def test_defaults_need_not_be_given():
    @step
    def lenient(x=1, *, y=2):
        return x, y

    assert lenient.call() == (1, 2)
    assert (5 >> lenient).call() == (5, 2)
    assert ({"y": 5} >> lenient).call() == (1, 5)


def test_mapped_calls_fit_too():
    assert (1 >> two.map([2, 3])).call() == [(1, 2), (1, 3)]
    assert two.s(9).map([1]).call() == [(1, 9)]
    assert two.s(right=9).map([1]).call() == [(1, 9)]
    assert two.starmap([(1, 2)]).call() == [(1, 2)]
    assert two.starmap([]).call() == []
    assert starmap(two.s(2), [(1,)]).call() == [(1, 2)]
    assert two.map([1, 2]).call("up") == [("up", 1), ("up", 2)]
    assert (1 >> two.starmap([])).call() == []
