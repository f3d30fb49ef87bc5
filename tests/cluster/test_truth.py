"""Truth tables: what becomes of a step when its upstream ran, was skipped, or failed.

Flows are written as a user writes them, and steps say how they were called: if ``x`` gives
``"x"``, then ``[y, x] >> take`` gives ``"take([y, x])"``. A cell that is no such call says why
``take`` is skipped. Each row holds three ways: for ``flow.call()``, and on Dask with steps
fused into tasks and with a task for each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pytest

from nbflow import (
    Flow,
    NbflowError,
    Retry,
    Run,
    TryAgain,
    branch,
    chain,
    chunks,
    group,
    starmap,
    step,
    switch,
)
from nbflow.record.summary import element_of

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("client")]


# The steps that tables are made of


def shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        opens, closes = "[]" if isinstance(value, list) else "()"
        return opens + ", ".join(map(shown, value)) + closes
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown(each)}" for key, each in value.items()) + "}"
    return str(value)


def says(name: str) -> Any:
    """Make a step that gives how it was called, such as ``take(y, k=x)``."""

    def called(*values: Any, **named: Any) -> str:
        words = [*map(shown, values), *(f"{key}={shown(each)}" for key, each in named.items())]
        return f"{name}({', '.join(words)})"

    return step(called).named(name)


class Broken(Exception):
    pass


def raises(*values: Any, **named: Any) -> Any:
    raise Broken("no luck")


def yes(*values: Any) -> bool:
    return True


def sure(*values: Any) -> bool:
    return True


def no(*values: Any) -> bool:
    return False


@step
def whole(values: Any) -> str:
    """Take a list in one piece, as it is given."""
    return f"take({shown(values)})"


one, take, then = says("one"), says("take"), says("then")
x = step(lambda: "x").named("x").s()
y = step(lambda: "y").named("y").s()
bad = step(raises).named("bad")
# Of these names are the flows in the tables.
NAMES: dict[str, Any] = {
    **{"bad": bad, "branch": branch, "chunks": chunks, "group": group, "no": no},
    **{"starmap": starmap, "step": step, "switch": switch, "total": whole.named("take"), "y": y},
    **{"yes": yes, "sure": sure, "str": str, "shared": y >> says("shared")},
    **{name: says(name) for name in ("join", "left", "one", "right", "take")},
}


def written(text: str, **names: Any) -> Flow:
    return chain(eval(text, {**NAMES, **names}))


# The three ways


@dataclass
class Seen:
    """How a flow ended.

    Attributes
    ----------
    value
        Of the flow.
    error
        What was raised instead.
    told
        What the handler of failures was told, each time.
    run
        None if the flow was only called.
    """

    value: Any = None
    error: BaseException | None = None
    told: list[list[Any]] = field(default_factory=list)
    run: Run | None = None

    def ended(self) -> dict[str, str]:
        """Say in words how each step ended."""
        assert self.run is not None
        steps = self.run.steps
        return dict(zip(steps.index, map(words, steps.status, steps.reason), strict=True))

    def element(self, name: str, number: int) -> str:
        """Say how an element of a mapped step ended."""
        assert self.run is not None
        return words(*element_of(self.run.state.steps[name], number))

    @property
    def culprits(self) -> list[list[str]]:
        return [[each.step for each in failures] for failures in self.told]


def words(status: Any, reason: str) -> str:
    return f"{status}: {reason}" if reason else str(status)


def begun(flow: Flow, how: str) -> tuple[Flow, Seen]:
    """Start a flow on Dask, unless it is only to be called."""
    found = Seen()
    flow = flow.on_error(found.told.append)
    if how != "call":
        found.run = (flow if how == "fused" else flow.options(fuse=False)).submit()
    return flow, found


def ending(flow: Flow, found: Seen) -> Seen:
    try:
        found.value = flow.call() if found.run is None else found.run.result(timeout=60)
    except (Broken, NbflowError, TryAgain) as error:
        found.error = error
    if found.run is not None:
        found.run.wait_for_handlers()
    return found


def seen(flow: Flow, how: str) -> Seen:
    return ending(*begun(flow, how))


three_ways = pytest.mark.parametrize("how", ["call", "fused", "unfused"])


def table(text: str) -> Any:
    """Read a table; what is written in the first column names a test."""
    rows = [[cell.strip() for cell in line.split(" | ")] for line in text.strip().splitlines()]
    return [pytest.param(*row, id=row[0]) for row in rows]


# Every kind of edge

EDGES = table(
    """
x >> take                          | take(x)               | x was skipped      | x failed
x >> take.s(y)                     | take(x, y)            | x was skipped      | x failed

[x] >> take                        | take([x])             | x was skipped      | x failed
[y, x] >> take                     | take([y, x])          | take([y])          | x failed
[x, x] >> take                     | take([x, x])          | x was skipped      | x failed
group(y, x) >> take                | take([y, x])          | take([y])          | x failed
group(y, x, max_concurrency=1) >> take | take([y, x])      | take([y])          | x failed
[[x], y] >> take                   | take([[x], y])        | take([y])          | x failed
[[y, x], y] >> take                | take([[y, x], y])     | take([[y], y])     | x failed
[[x], [[x]]] >> take               | take([[x], [[x]]])    | x was skipped      | x failed
[(y, x), y] >> take                | take([(y, x), y])     | take([y])          | x failed
[{"k": x}, y] >> take              | take([{k: x}, y])     | take([y])          | x failed
[x, 0] >> take                     | take([x, 0])          | take([0])          | x failed

(y, x) >> take                     | take(y, x)            | x was skipped      | x failed
(y, [y, x]) >> take                | take(y, [y, x])       | take(y, [y])       | x failed
(y, [x]) >> take                   | take(y, [x])          | x was skipped      | x failed
{"a": y, "b": x} >> take           | take(a=y, b=x)        | x was skipped      | x failed
{"a": [y, x]} >> take              | take(a=[y, x])        | take(a=[y])        | x failed

take.s(x)                          | take(x)               | x was skipped      | x failed
take.s(k=x)                        | take(k=x)             | x was skipped      | x failed
y >> take.s(x)                     | take(y, x)            | x was skipped      | x failed
y >> take.s([y, x])                | take(y, [y, x])       | take(y, [y])       | x failed
y >> take.s([x])                   | take(y, [x])          | x was skipped      | x failed
y >> take.s({"k": x})              | take(y, {k: x})       | x was skipped      | x failed
y >> take.s({"k": [y, (y, x)]})    | take(y, {k: [y, (y, x)]}) | take(y, {k: [y]}) | x failed

x >> take.si()                     | take()                | x was skipped      | x failed
x >> take.si(y)                    | take(y)               | x was skipped      | x failed
y >> take.si(x)                    | take(x)               | x was skipped      | x failed
[y, x] >> take.si()                | take()                | take()             | x failed
[x] >> take.si()                   | take()                | x was skipped      | x failed
(y, x) >> take.si()                | take()                | x was skipped      | x failed
{"a": y, "b": x} >> take.si()      | take()                | x was skipped      | x failed

take.map([y, x])                   | [take(y), take(x)]    | [take(y)]          | x failed
take.map([x])                      | [take(x)]             | x was skipped      | x failed
take.map([[y, x], [x]])            | [take([y, x]), take([x])] | [take([y])]    | x failed
take.map([(y, x), y])              | [take((y, x)), take(y)] | [take(y)]        | x failed
[y, x] >> take.map()               | [take(y), take(x)]    | [take(y)]          | x failed
[x] >> take.map()                  | [take(x)]             | x was skipped      | x failed
x >> step(list).named("one") >> take.map() | [take(x)]     | one was skipped    | x failed
starmap(take, [(y, x), (y, y)])    | [take(y, x), take(y, y)] | [take(y, y)]    | x failed
chunks(take, [y, x, y], 2)         | [take([y, x]), take([y])] | [take([y]), take([y])] | x failed
x >> take.map([1, 2])              | [take(x, 1), take(x, 2)] | x was skipped   | x failed
take.s(k=x).map([1, 2])            | [take(1, k=x), take(2, k=x)] | x was skipped | x failed
[y, x] >> take.map([1])            | [take([y, x], 1)]     | [take([y], 1)]     | x failed

[y, x] >> total.reduce(split_every=2) | take([y, x])       | take([y])          | x failed
[x] >> total.reduce(split_every=2) | take([x])             | x was skipped      | x failed

x >> branch(yes, one, left) >> take | take(one(x))         | yes was skipped    | x failed
y >> branch(yes, take.s(x))        | take(y, x)            | x was skipped      | x failed
y >> branch(yes, [one, x]) >> take | take([one(y), x])     | take([one(y)])     | x failed
y >> branch(yes, (one, x)) >> take | take((one(y), x))     | x was skipped      | x failed
y >> branch(yes, x) >> take        | take(x)               | x was skipped      | x failed
y >> branch(no, x, one) >> take    | take(one(y))          | take(one(y))       | take(one(y))
[y, y >> branch(yes, x)] >> take   | take([y, x])          | take([y])          | x failed
y >> branch(yes, branch(yes, x)) >> take | take(x)         | x was skipped      | x failed
y >> switch(str, {"y": x}) >> take | take(x)               | x was skipped      | x failed
""".replace("\n\n", "\n")
)


@three_ways
@pytest.mark.parametrize(("edge", "ran", "skipped", "failed"), EDGES)
def test_what_becomes_of_a_step_and_of_what_follows(
    edge: str, ran: str, skipped: str, failed: str, how: str
) -> None:
    causes = [x, x.when(no), bad.named("x").s()]
    flows = [begun(written(edge, x=above) >> then, how) for above in causes]
    for becomes, each in zip([ran, skipped, failed], flows, strict=True):
        end = ending(*each)
        runs = gives(becomes)
        fails = becomes == "x failed"
        assert end.value == (f"then({becomes})" if runs else None)
        assert isinstance(end.error, Broken) == fails
        assert end.culprits == ([["x"]] if fails else [])
        if end.run is None:
            continue
        ended = end.ended()
        assert end.run.status == ("failed" if fails else "completed")
        assert ended["take"] == ("completed" if runs else f"skipped: {becomes}")
        assert plain(ended["then"]) == following(becomes)


def gives(cell: str) -> bool:
    """Tell whether a cell is a value, rather than why there is none."""
    return cell.endswith((")", "]"))


def following(cell: str) -> str:
    """Say what becomes of the step after ``take``: the culprit of a failure stays the same."""
    if gives(cell):
        return "completed"
    return f"skipped: {cell}" if cell.endswith("failed") else "skipped: take was skipped"


def plain(text: str) -> str:
    """Leave out which elements a reason names."""
    return re.sub(r"\[\d+\]", "", text)


# The same for each element of a map


@step
def feels(item: str) -> str:
    if item == "bad":
        raise Broken("no luck")
    return "x"


def welcome(item: str) -> bool:
    return item != "unwanted"


@three_ways
@pytest.mark.parametrize("on_error", ["raise", "collect"])
@pytest.mark.parametrize(
    ("edge", "ran", "skipped", "failed"),
    [each for each in EDGES if not re.search(r"y >> (branch|switch)", each.id)],
)
def test_in_a_map_the_same_holds_for_each_element(
    edge: str, ran: str, skipped: str, failed: str, on_error: str, how: str
) -> None:
    body = written(edge, x=feels.named("x").s().when(welcome)) >> then
    end = seen(body.map(["good", "unwanted", "bad"], on_error=on_error), how)
    collected = on_error == "collect"
    cells = [ran, skipped, failed]
    assert end.value == ([f"then({cell})" for cell in cells if gives(cell)] if collected else None)
    assert isinstance(end.error, Broken) != collected
    assert end.culprits == ([] if collected else [["x"]])
    if end.run is None:
        return
    assert [end.element("x", number) for number in range(3)] == [
        "completed",
        "skipped: welcome was False",
        "failed: Broken: no luck",
    ]
    for number, cell in enumerate(cells):
        expected = "completed" if gives(cell) else f"skipped: {cell}"
        # The reason names the element that it began with.
        assert end.element("take", number) == re.sub(r": (\w+)", rf": \1[{number}]", expected)
        assert plain(end.element("then", number)) == following(cell)
        if gives(cell) and not collected:
            assert end.run.value(f"then[{number}]") == f"then({cell})"
    status = "completed" if collected else "skipped: x[2] failed"
    assert (end.ended()["take"], end.ended()["then"]) == (status, status)
    assert list(end.run.dead_letters.input) == (["bad"] if collected else [])


# Why something has no value, and what that is called further on


def tries() -> str:
    raise TryAgain(0)


def spoils() -> Any:
    return map(str, [])


def of(what: Any, **options: Any) -> Any:
    return step(what, **options).named("x").s()


# What x is, how it ends, and why a step that needs it is skipped.
CAUSES = {
    "its when is false": (x.when(no), "skipped: no was False", "x was skipped"),
    "one of its predicates is false": (
        x.when(yes).when(no),
        "skipped: no was False",
        "x was skipped",
    ),
    "its upstream was skipped": (
        y.when(no) >> says("x"),
        "skipped: y was skipped",
        "x was skipped",
    ),
    "all members of its list": (
        [y.when(no), y.when(no)] >> says("x"),
        "skipped: y was skipped",
        "x was skipped",
    ),
    "an arm not taken": (y >> branch(no, says("x")), "skipped: no was False", "no was False"),
    "the end of such an arm": (
        y >> branch(no, says("one") >> says("x")),
        "skipped: one was skipped",
        "no was False",
    ),
    "a branch that is skipped": (
        y.when(no) >> branch(yes, says("x")),
        "skipped: yes was skipped",
        "yes was skipped",
    ),
    "a switch to an arm without a value": (
        y >> switch(step(str), {"n": says("x")}, default=branch(no, says("one"))),
        "skipped: str was 'y'",
        "no was False",
    ),
    "it raises": (of(raises), "failed: Broken: no luck", "x failed"),
    "its attempts are used up": (
        of(raises, retry=Retry(attempts=3, wait=0)),
        "failed: Broken: no luck",
        "x failed",
    ),
    "it asks again for ever": (of(tries), "failed: TryAgain", "x failed"),
    "it gives what cannot travel": (of(spoils), "failed: TransferError", "x failed"),
    "its when raises": (x.when(raises), "failed: Broken: no luck", "x failed"),
    "its upstream failed": (bad.s() >> says("x"), "skipped: bad failed", "bad failed"),
    "what it waits for failed": (bad.s() >> says("x").si(), "skipped: bad failed", "bad failed"),
    "the branch could not decide": (
        y >> branch(bad, says("x"), says("one")),
        "skipped: bad failed",
        "bad failed",
    ),
    "a switch without the case": (
        y >> switch(step(str), {"n": says("x")}),
        "skipped: str failed",
        "str failed",
    ),
    "that, and None for the rest": (
        y >> switch(step(str), {"n": says("x")}, default=None),
        "skipped: str failed",
        "str failed",
    ),
    "a failure and a skip": (
        (y.when(no), bad.s()) >> says("x"),
        "skipped: bad failed",
        "bad failed",
    ),
}


@three_ways
@pytest.mark.parametrize("cause", CAUSES)
def test_why_there_is_no_value(cause: str, how: str) -> None:
    flow, ends, reason = CAUSES[cause]
    only, many, each = says("only"), says("many"), says("each")
    end = seen(group(flow >> only, [y, flow] >> many, (y, flow) >> each), how)
    fails = reason.endswith("failed")
    assert (end.error is not None) == fails
    assert end.culprits == ([[reason.split()[0]]] if fails else [])
    if not fails:
        assert end.value == ["many([y])"]
    if end.run is None:
        return
    ended = end.ended()
    assert ended["x"].startswith(ends)
    assert (ended["only"], ended["each"]) == (f"skipped: {reason}",) * 2
    assert ended["many"] == (f"skipped: {reason}" if fails else "completed")


# Branches: the flow, its value, and the steps that did not complete, with the reason
BRANCHES = [
    pytest.param(flow, value, " ".join(others), id=flow)
    for flow, value, *others in (
        [line.strip() for line in paragraph.strip().splitlines()]
        for paragraph in """
y >> branch(yes, left, right) >> join
    join(left(y))
    right: yes was True

y >> branch(no, left, right) >> join
    join(right(y))
    left: no was False

y >> branch(no, left) >> join
    None
    left: no was False; join: no was False

[y >> branch(no, left), y] >> join
    join([y])
    left: no was False

[y >> branch(no, left)] >> join
    None
    left: no was False; join: no was False

(y, y >> branch(no, left)) >> join
    None
    left: no was False; join: no was False

y >> branch(no, left) >> join.si()
    None
    left: no was False; join: no was False

y >> join.s(y >> branch(no, left))
    None
    left: no was False; join: no was False

y >> join.s([y >> branch(no, left), 1])
    join(y, [1])
    left: no was False

y >> branch(no, left) >> join >> one
    None
    left: no was False; join: no was False; one: join was skipped

y >> branch(yes, [left, one], right) >> join
    join([left(y), one(y)])
    right: yes was True

y >> branch(yes, (left, one), right) >> join
    join((left(y), one(y)))
    right: yes was True

y >> branch(yes, {"k": left}, right) >> join
    join({k: left(y)})
    right: yes was True

y >> branch(no, [left, one], right) >> join
    join(right(y))
    left: no was False; one: no was False

y >> branch(no, left >> one, right) >> join
    join(right(y))
    left: no was False; one: left was skipped

y >> branch(yes, branch(sure, left, right), one) >> join
    join(left(y))
    right: sure was True; one: yes was True

y >> branch(yes, branch(no, left, right), one) >> join
    join(right(y))
    left: no was False; one: yes was True

y >> branch(yes, branch(no, left), one) >> join
    None
    left: no was False; one: yes was True; join: no was False

y >> branch(no, branch(yes, left, right), one) >> join
    join(one(y))
    yes: no was False; left: yes was skipped; right: yes was skipped

y >> branch(yes, left) >> branch(no, one, right) >> join
    join(right(left(y)))
    one: no was False

y >> branch(no, left) >> branch(yes, one, right) >> join
    None
    left: no was False; yes: no was False; one: yes was skipped; right: yes was skipped;
    join: yes was skipped

[y >> branch(no, left.s(shared)), shared] >> join
    join([shared(y)])
    left: no was False

y >> branch(no, left.s(shared), right) >> join
    join(right(y))
    shared: no was False; left: shared was skipped

y >> branch(yes, left.s(shared), right.s(shared)) >> join
    join(left(y, shared(y)))
    right: yes was True

[y >> branch(no, left), y >> branch(yes, right)] >> join
    join([right(y)])
    left: no was False

y >> switch(str, {"y": left, "n": right}) >> join
    join(left(y))
    right: str was 'y'

y >> switch(str, {"n": left}, right) >> join
    join(right(y))
    left: str was 'y'

y >> switch(str, {"n": left, "y": branch(no, one)}) >> join
    None
    left: str was 'y'; one: no was False; join: no was False

y >> branch(yes, left.map([1, 2]), right) >> join
    join([left(y, 1), left(y, 2)])
    right: yes was True

y >> branch(no, left.map([1, 2])) >> join
    None
    left: no was False; join: no was False

y >> branch(no, left.map([])) >> join
    None
    left: no was False; join: no was False

[1, 2] >> branch(yes, left.map(), right.map()) >> join
    join([left(1), left(2)])
    right: yes was True

[] >> branch(yes, left.map()) >> join
    join([])
    nothing

y >> branch(bad, left, right) >> join
    raises
    bad failed; left: bad failed; right: bad failed; join: bad failed

[y >> branch(bad, left), y] >> join
    raises
    bad failed; left: bad failed; join: bad failed

y >> branch(yes, left >> bad, right) >> join
    raises
    bad failed; right: yes was True; join: bad failed

y >> branch(no, left >> bad, right) >> join
    join(right(y))
    left: no was False; bad: left was skipped

y >> branch(yes, bad >> left, right) >> join
    raises
    bad failed; left: bad failed; right: yes was True; join: bad failed

bad.s() >> branch(yes, left, right) >> join
    raises
    bad failed; yes: bad failed; left: bad failed; right: bad failed; join: bad failed

y >> branch(yes, left.s(bad.s()), right) >> join
    raises
    bad failed; left: bad failed; right: yes was True; join: bad failed

y >> branch(no, left.s(bad.s()), right) >> join
    join(right(y))
    bad: no was False; left: bad was skipped
""".split("\n\n")
    )
]


@three_ways
@pytest.mark.parametrize(("text", "value", "others"), BRANCHES)
def test_branches(text: str, value: str, others: str, how: str) -> None:
    end = seen(written(text), how)
    told = [each.removesuffix(" failed") for each in others.split("; ") if each == "bad failed"]
    assert (end.value is None) == (value in ("None", "raises"))
    assert end.value is None or end.value == value
    assert isinstance(end.error, Broken) == (value == "raises")
    assert end.culprits == ([["bad"]] if value == "raises" else [])
    if end.run is None:
        return
    ended = end.ended()
    reasons = dict(each.split(": ") for each in others.split("; ") if ":" in each)
    expected = dict.fromkeys(ended, "completed")
    expected.update({name: f"skipped: {reason}" for name, reason in reasons.items()})
    expected.update(dict.fromkeys(told, "failed: Broken: no luck"))
    assert ended == expected


# Maps: what follows x, which is mapped


def odd(n: int) -> int:
    if n % 2 == 0:
        raise Broken("no luck")
    return n


def is_odd(n: int) -> bool:
    return n % 2 == 1


def is_small(n: int) -> bool:
    return n < 5


odds = step(odd).named("x")
wanted = odds.options(when=is_odd)
small = odds.options(when=is_small)
MAPPED = {
    "all ran": odds.map([1, 3]),
    "some skipped": wanted.map([1, 2, 3]),
    "some put aside": odds.map([1, 2, 3], on_error="collect"),
    "both": small.map([1, 2, 3, 5], on_error="collect"),
    "none at all": odds.map([]),
    "all put aside": odds.map([2, 4], on_error="collect"),
    "some put aside, others skipped": small.map([2, 5], on_error="collect"),
    "all skipped": wanted.map([2, 4]),
    "some failed": odds.map([1, 2, 3]),
    "failed and skipped": small.map([5, 2]),
}
HAS_SOME = ["all ran", "some skipped", "some put aside", "both"]
HAS_NONE = ["none at all", "all put aside", "some put aside, others skipped"]

# If an element failed and is not put aside, each of these is skipped, as "x[1] failed".
AFTER_MAPS = table(
    """
edge                       | some elements ran    | no elements          | all skipped
x >> take                  | take([1, 3])         | take([])               | x[0] was skipped
[x] >> take                | take([[1, 3]])       | take([[]])             | x[0] was skipped
[y, x] >> take             | take([y, [1, 3]])    | take([y, []])          | take([y])
(y, x) >> take             | take(y, [1, 3])      | take(y, [])            | x[0] was skipped
{"a": y, "b": x} >> take   | take(a=y, b=[1, 3])  | take(a=y, b=[])        | x[0] was skipped
y >> take.s(x)             | take(y, [1, 3])      | take(y, [])            | x[0] was skipped
y >> take.s([y, (x, 2)])   | take(y, [y, ([1, 3], 2)]) | take(y, [y, ([], 2)]) | take(y, [y])
x >> take.si()             | take()               | take()                 | x[0] was skipped
[y, x] >> take.si()        | take()               | take()                 | take()
x >> take.map()            | [take(1), take(3)]   | []                     | x[0] was skipped
x >> take.map([7])         | [take([1, 3], 7)]    | [take([], 7)]          | x[0] was skipped
take.map([y, x])           | [take(y), take([1, 3])] | [take(y), take([])] | [take(y)]
x >> total.reduce(split_every=9) | take([1, 3])   | take([])               | x[0] was skipped
x >> branch(yes, one) >> take | take(one([1, 3])) | take(one([]))          | yes was skipped
y >> branch(yes, x) >> take | take([1, 3])        | take([])               | x[0] was skipped
"""
)[1:]


@three_ways
@pytest.mark.parametrize(("edge", "some", "none", "all_skipped"), AFTER_MAPS)
def test_what_follows_a_map(edge: str, some: str, none: str, all_skipped: str, how: str) -> None:
    flows = {kind: begun(written(edge, x=above) >> then, how) for kind, above in MAPPED.items()}
    for kind, each in flows.items():
        end = ending(*each)
        fails = "failed" in kind
        becomes = some if kind in HAS_SOME else none if kind in HAS_NONE else all_skipped
        runs = gives(becomes) and not fails
        assert end.value == (f"then({becomes})" if runs else None), kind
        assert isinstance(end.error, Broken) == fails
        assert end.culprits == ([["x"]] if fails else [])
        if end.run is None:
            continue
        ended = end.ended()
        own = "failed: Broken: no luck" if fails else "completed"
        assert ended["x"] == ("skipped: is_odd was False" if kind == "all skipped" else own)
        reason = "x[1] failed" if fails else becomes
        assert ended["take"] == ("completed" if runs else f"skipped: {reason}"), kind
        assert plain(ended["then"]) == ("skipped: x failed" if fails else following(becomes))
        dead = 0 if fails else {"some put aside": 1, "both": 1, "all put aside": 2}.get(kind, 0)
        assert len(end.run.dead_letters) == dead + (kind == "some put aside, others skipped")


# Branches in maps: the flow, its value, and each step that did not run for every element


def unsure(n: int) -> bool:
    if n == 3:
        raise Broken("no luck")
    return n % 2 == 1


BRANCHES_IN_MAPS = [
    pytest.param(flow, value, others, id=flow)
    for flow, value, *others in (
        [line.strip() for line in paragraph.strip().splitlines()]
        for paragraph in """
branch(is_odd, left, right).map([1, 2]) >> join
    join([left(1), right(2)])
    left | ran | is_odd was False
    right | is_odd was True | ran

branch(is_odd, left).map([1, 2]) >> join
    join([left(1)])
    left | ran | is_odd was False
    taken | ran | is_odd was False

(branch(is_odd, left) >> one).map([1, 2]) >> join
    join([one(left(1))])
    left | ran | is_odd was False
    one | ran | is_odd was False

branch(is_odd, left).map([2, 4]) >> join
    None
    left | is_odd was False | is_odd was False
    taken | is_odd was False | is_odd was False

[branch(is_odd, left).map([2, 4]), y] >> join
    join([y])
    left | is_odd was False | is_odd was False
    taken | is_odd was False | is_odd was False

branch(is_odd, left >> one, right).map([1, 2]) >> join
    join([one(left(1)), right(2)])
    left | ran | is_odd was False
    one | ran | left[1] was skipped
    right | is_odd was True | ran

branch(is_odd, [left, one], right).map([1, 2]) >> join
    join([[left(1), one(1)], right(2)])
    left | ran | is_odd was False
    one | ran | is_odd was False
    right | is_odd was True | ran

[1, 2] >> (branch(is_odd, left.s(y), right) >> one).map() >> join
    join([one(left(1, y)), one(right(2))])
    left | ran | is_odd was False
    right | is_odd was True | ran

branch(is_odd, branch(is_small, left, right), one).map([1, 2, 5]) >> join
    join([left(1), one(2), right(5)])
    is_small | ran | is_odd was False | ran
    left | ran | is_small[1] was skipped | is_small was False
    right | is_small was True | is_small[1] was skipped | ran
    one | is_odd was True | ran | is_odd was True

switch(unsure, {True: left}, right).map([1, 2]) >> join
    join([left(1), right(2)])
    left | ran | unsure was False
    right | unsure was True | ran

branch(unsure, left, right).map([1, 2, 3]) >> join
    raises
    left | ran | unsure was False | unsure[2] failed
    right | unsure was True | ran | unsure[2] failed
    taken | ran | ran | unsure[2] failed

branch(unsure, left, right).map([1, 2, 3], on_error="collect") >> join
    join([left(1), right(2)])
    left | ran | unsure was False | unsure[2] failed
    right | unsure was True | ran | unsure[2] failed
    taken | ran | ran | unsure[2] failed

branch(is_odd, right, bad >> left).map([1, 2, 3], on_error="collect") >> join
    join([right(1), right(3)])
    right | ran | is_odd was False | ran
    bad | is_odd was True | failed | is_odd was True
    left | bad[0] was skipped | bad[1] failed | bad[2] was skipped
    taken | ran | bad[1] failed | ran
""".split("\n\n")
    )
]


@three_ways
@pytest.mark.parametrize(("text", "value", "others"), BRANCHES_IN_MAPS)
def test_branches_in_maps(text: str, value: str, others: list[str], how: str) -> None:
    end = seen(written(text, is_odd=is_odd, is_small=is_small, unsure=unsure), how)
    assert end.value == (value if value.endswith(")") else None)
    assert isinstance(end.error, Broken) == (value == "raises")
    assert end.culprits == ([["unsure"]] if value == "raises" else [])
    if end.run is None:
        return
    for name, *cells in (line.split(" | ") for line in others):
        for number, cell in enumerate(cells):
            expected = {"ran": "completed", "failed": "failed: Broken: no luck"}
            assert end.element(name, number) == expected.get(cell, f"skipped: {cell}")
    rest = set(end.ended()) - {line.split(" | ")[0] for line in others} - {"join", "unsure"}
    assert {end.ended()[name] for name in rest} <= {"completed"}


# What reasons say


def test_the_reason_names_the_decision_that_was_taken() -> None:
    end = seen(written("y >> branch(yes, branch(yes, left, right), one)"), "fused")
    assert end.ended()["yes_2"] == "completed"
    assert end.ended()["right"] == "skipped: yes_2 was True"


def test_the_reason_names_the_element_in_which_a_map_was_skipped() -> None:
    x = feels.named("x").s().when(welcome)
    end = seen((x >> take.map([1]) >> then).map(["good", "unwanted"]), "fused")
    assert end.element("take", 0) == "completed"
    assert end.element("then", 1) == "skipped: take[1] was skipped"


def test_a_step_whose_elements_were_all_put_aside_further_up_has_an_empty_list() -> None:
    end = seen((odds >> one).map([2, 4], on_error="collect") >> take, "fused")
    assert end.value == "take([])"
    assert end.ended() == {"x": "completed", "one": "completed", "take": "completed"}


@pytest.mark.parametrize("cause", ["failed", "skipped"])
@pytest.mark.parametrize("how", ["fused", "unfused"])
def test_a_map_over_nothing_gives_an_empty_list_whatever_it_needs(cause: str, how: str) -> None:
    above = x.when(no) if cause == "skipped" else bad.named("x").s()
    end = seen(above >> take.map([]), how)
    assert end.ended()["take"] == "completed"
