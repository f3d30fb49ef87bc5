"""Fail each step in turn of random flows: what then becomes of every other step.

A flow is drawn as a list of parts, of which each takes values from earlier ones. Every
step knows its own name and fails if it is the chosen one, which is a parameter of the
run. Of a map, it fails for every second element. What must become of each step is then
said by plain reasoning over the parts, which knows nothing of nbflow.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import nbflow
from nbflow import Flow, Retry, Run, branch, context, group, param, step

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("client")]

FLOWS = range(160, 180)  # among them is all that can be drawn: see the last test but one


# The steps


class Broken(Exception):
    """With two arguments, so that one that is made anew from its message would show."""

    def __init__(self, who: str, why: str) -> None:
        super().__init__(who, why)


def attempt(me: str, chosen: str, stubborn: bool) -> None:
    """Fail if this is the chosen step; a stubborn one fails at first in any case."""
    element = context().element
    unlucky = element is None or int(str(element)[-1]) % 2 == 1
    if me == chosen and unlucky:
        raise Broken(me, "it was chosen")
    if stubborn and context().attempt == 1:
        raise Broken(me, "at first")


def works(*values: Any, me: str, chosen: str, stubborn: bool = False, **named: Any) -> Any:
    attempt(me, chosen, stubborn)
    return me


def begins(*, me: str, chosen: str, stubborn: bool = False) -> Any:
    attempt(me, chosen, stubborn)
    return me


def takes(item: Any, *, me: str, chosen: str, common: Any = None) -> Any:
    attempt(me, chosen, stubborn=False)
    return me


def pairs(upstream: Any, item: Any, *, me: str, chosen: str) -> Any:
    attempt(me, chosen, stubborn=False)
    return me


def sums(values: list[Any], me: str, chosen: str) -> Any:
    attempt(me, chosen, stubborn=False)
    return me


def lists(*values: Any, me: str, chosen: str, size: int, stubborn: bool = False) -> Any:
    attempt(me, chosen, stubborn)
    return list(range(size))


def upto(item: int, *, me: str, chosen: str) -> Any:
    attempt(me, chosen, stubborn=False)
    return list(range(item))


def decides(value: Any, *, me: str, chosen: str, way: bool) -> bool:
    attempt(me, chosen, stubborn=False)
    return way


def never(*values: Any, **named: Any) -> bool:
    return False


# What is drawn


@dataclass(frozen=True)
class Part:
    """One step of a flow, or a few that belong together.

    Attributes
    ----------
    kind
        ``step``; ``reduce``; a ``map`` over given numbers, over flows (``items``) or over
        a list that a step makes (``listed``); a map of maps (``nested``); a ``branch``.
    above
        The parts that it takes values from.
    edge
        Through which kind of edge.
    size
        How many elements it has.
    collect
        Whether failures are put aside: ``inner``, ``outer``, both, or neither.
    tries
        ``stubborn`` for a step that needs two attempts, ``twice`` for one that has two.
    wanted
        Whether the step is to run, as its option ``when`` says.
    way
        Which way a branch takes, and which arms there are.
    """

    number: int
    kind: str
    above: tuple[int, ...] = ()
    edge: str = "only"
    size: int = 0
    collect: str = ""
    tries: str = ""
    wanted: bool = True
    way: tuple[bool, str] = (True, "")

    def name(self, role: str) -> str:
        return f"{role}{self.number}"


# Edges that need all of their values, and those that go on without what was skipped.
NEEDS_ALL = ["tuple", "dict", "arguments", "keyword", "deep tuple", "after", "after tuple"]
GOES_ON = ["list", "list in list", "list argument", "deep list", "after list"]
EDGES = ["only", *NEEDS_ALL, *GOES_ON]
KINDS = ["step", "step", "step", "step", "reduce", "map", "items", "listed", "nested", "branch"]


def drawn(seed: int) -> tuple[Part, ...]:
    rng = random.Random(seed)
    parts: list[Part] = [Part(0, "step", tries=rng.choice(["", "stubborn"]))]
    for number in range(1, rng.randint(4, 7)):
        kind = rng.choice(KINDS)
        many = rng.choice([1, 2, 2, 3]) if kind in ("step", "reduce", "items") else 1
        above = rng.sample(range(number), min(number, many))
        edge = rng.choice(EDGES) if kind == "step" else rng.choice(["only", "keyword"])
        if edge in ("only", "after") and kind == "step":
            above = above[:1]
        parts.append(
            Part(
                number,
                kind,
                tuple(above),
                edge,
                rng.randint(2, 4) if kind == "nested" else rng.randint(1, 4),
                rng.choice(["", "", "inner", "outer", "inner outer"]),
                rng.choice(["", "", "stubborn", "twice"]) if kind == "step" else "",
                rng.random() < 0.8,
                (rng.random() < 0.5, rng.choice(["then", "then other", "then next other"])),
            )
        )
    return tuple(parts)


# Written with nbflow


def placed(part: Part, role: str, fn: Any = works, **options: Any) -> Any:
    """Give a step of a part, ready for what its edges pass to it."""
    if part.tries and role == "step":
        options["retry"] = Retry(attempts=2, wait=0)
    return step(fn, **options).named(part.name(role))


def own(part: Part, role: str, **more: Any) -> dict[str, Any]:
    """Give the keywords with which each step is called."""
    if part.tries == "stubborn" and role == "step":
        more["stubborn"] = True
    return {"me": part.name(role), "chosen": param("chosen", ""), **more}


def connected(edge: str, above: list[Flow], one: Any, words: dict[str, Any]) -> Flow:
    first, *others = above
    if edge == "only":
        return first >> one.s(**words)
    if edge == "list":
        return above >> one.s(**words)
    if edge == "list in list":
        return [[first], *([each] for each in others)] >> one.s(**words)
    if edge == "tuple":
        return tuple(above) >> one.s(**words)
    if edge == "dict":
        return {f"k{n}": each for n, each in enumerate(above)} >> one.s(**words)
    if edge == "arguments":
        return one.s(*above, **words)
    if edge == "keyword":
        return one.s(**words, **{f"k{n}": each for n, each in enumerate(above)})
    if edge == "list argument":
        return one.s(above, **words)
    if edge == "deep list":
        return one.s({"deep": (1, above)}, **words)
    if edge == "deep tuple":
        return one.s(["there", {"deep": 1}], {"deep": tuple(above)}, **words)
    if edge == "after":
        return first >> one.si(**words)
    if edge == "after list":
        return above >> one.si(**words)
    return tuple(above) >> one.si(**words)


def written(parts: tuple[Part, ...]) -> Flow:
    flows: list[Flow] = []
    for part in parts:
        above = [flows[each] for each in part.above]
        flows.append(of_part(part, above))
    used = {each for part in parts for each in part.above}
    ends = [flow for number, flow in enumerate(flows) if number not in used]
    return group(ends, max_concurrency=len(parts) % 3 or None)


def of_part(part: Part, above: list[Flow]) -> Flow:
    if part.kind == "step":
        options = {} if part.wanted else {"when": never}
        one, words = placed(part, "step", **options), own(part, "step")
        if not above:
            return placed(part, "step", begins).s(**words)
        return connected(part.edge, above, one, words)
    if part.kind == "reduce":
        summing = placed(part, "sum", sums).reduce(split_every=2)
        return (above, part.name("sum"), param("chosen", "")) >> summing
    if part.kind == "branch":
        return of_branch(part, above[0])
    inner = "collect" if "inner" in part.collect else "raise"
    outer = "collect" if "outer" in part.collect else "raise"
    first, second = (placed(part, role, takes).s(**own(part, role)) for role in ("first", "second"))
    if part.kind == "map" and part.edge == "only":
        first = placed(part, "first", pairs).s(**own(part, "first"))
        return above[0] >> (first >> second).map(range(part.size), on_error=outer)
    if part.kind == "map":
        first = placed(part, "first", takes).s(**own(part, "first"), common=above[0])
        return (first >> second).map(range(part.size), on_error=outer)
    if part.kind == "items":
        return (first >> second).map(["given", *above], on_error=outer)
    lister = above[0] >> placed(part, "list", lists).s(**own(part, "list", size=part.size))
    if part.kind == "listed":
        return lister >> (first >> second).map(on_error=outer)
    inside = placed(part, "inner", upto).s(**own(part, "inner"))
    each = placed(part, "each").s(**own(part, "each"))
    total = placed(part, "total").s(**own(part, "total"))
    return lister >> (inside >> each.map(on_error=inner) >> total).map(on_error=outer)


def of_branch(part: Part, above: Flow) -> Flow:
    way, roles = part.way
    judge = placed(part, "judge", decides).s(**own(part, "judge", way=way))
    arms = {role: placed(part, role).s(**own(part, role)) for role in roles.split()}
    then = arms["then"] >> arms["next"] if "next" in arms else arms["then"]
    return above >> branch(judge, then, arms.get("other"))


# Said by plain reasoning


THERE, SKIPPED, ASIDE = "there", "skipped", "aside"


@dataclass(frozen=True)
class Failed:
    """The value is not there because a step failed, whose name this is."""

    culprit: str


def needing(values: list[Any]) -> Any:
    """Say what becomes of who needs all the values: a failure counts more than a skip."""
    for value in values:
        if isinstance(value, Failed):
            return value
    return ASIDE if ASIDE in values else SKIPPED if SKIPPED in values else THERE


def gathering(values: list[Any]) -> Any:
    """Say what becomes of a list, which goes on without what was skipped."""
    worst = needing(values)
    return THERE if worst == SKIPPED and THERE in values else worst


def of_elements(values: list[Any]) -> Any:
    """Say what becomes of the list over the elements of a map."""
    worst = gathering([value for value in values if value != ASIDE])
    return THERE if worst == SKIPPED and ASIDE in values else worst


class Reasoned:
    """What becomes of each step of a flow if one is chosen to fail.

    Attributes
    ----------
    ended
        Of each step, its status, and whose failure it was skipped for.
    """

    def __init__(self, parts: tuple[Part, ...], chosen: str) -> None:
        self.chosen = chosen
        self.ended: dict[str, tuple[str, str]] = {}
        self.attempts: dict[str, int] = {}
        self.dead = 0
        values: list[Any] = []
        for part in parts:
            values.append(getattr(self, part.kind)(part, [values[each] for each in part.above]))

    @property
    def failed(self) -> list[str]:
        return [name for name, (status, _) in self.ended.items() if status == "failed"]

    def _one(self, name: str, upstream: Any, wanted: bool = True) -> Any:
        value = upstream
        if upstream == THERE:
            value = SKIPPED if not wanted else Failed(name) if name == self.chosen else THERE
        self._note(name, value)
        return value

    def _note(self, name: str, value: Any) -> None:
        if not isinstance(value, Failed):
            self.ended[name] = ("completed" if value == THERE else "skipped", "")
        elif value.culprit.split("[")[0] == name:
            self.ended[name] = ("failed", "")
        else:
            self.ended[name] = ("skipped", value.culprit)

    def _element(
        self, name: str, upstream: Any, place: str, collect: bool, silent: bool = False
    ) -> Any:
        """Say what becomes of a step for one element: every second one can fail."""
        if upstream != THERE or name != self.chosen or int(place[-2]) % 2 == 0:
            return upstream
        self.dead += collect
        return ASIDE if collect else Failed(f"{name}{place}")

    def _body(self, part: Part, items: list[Any]) -> Any:
        """Say what becomes of the two steps of a map, and of its list."""
        collect = "outer" in part.collect
        firsts, seconds = [], []
        for number, item in enumerate(items):
            firsts.append(self._element(part.name("first"), item, f"[{number}]", collect))
            seconds.append(self._element(part.name("second"), firsts[-1], f"[{number}]", collect))
        self._note(part.name("first"), of_elements(firsts))
        self._note(part.name("second"), of_elements(seconds))
        return of_elements(seconds)

    def step(self, part: Part, above: list[Any]) -> Any:
        if not above:
            upstream = THERE
        elif part.edge in ("only", "after"):
            upstream = above[0]
        else:
            upstream = gathering(above) if part.edge in GOES_ON else needing(above)
        value = self._one(part.name("step"), upstream, part.wanted)
        ran = upstream == THERE and part.wanted
        if ran:  # of one that is skipped, see the last test
            again = part.tries == "stubborn" or (part.tries and isinstance(value, Failed))
            self.attempts[part.name("step")] = 2 if again else 1
        return value

    def reduce(self, part: Part, above: list[Any]) -> Any:
        return self._one(part.name("sum"), gathering(above))

    def branch(self, part: Part, above: list[Any]) -> Any:
        way, roles = part.way
        judged = self._one(part.name("judge"), above[0])
        taken = judged if judged != THERE or way else SKIPPED
        other = judged if judged != THERE or not way else SKIPPED
        then = self._one(part.name("then"), taken)
        if "next" in roles:
            then = self._one(part.name("next"), then)
        if "other" in roles:
            other = self._one(part.name("other"), other)
        elif not way and judged == THERE:
            return SKIPPED
        return then if way else other

    def map(self, part: Part, above: list[Any]) -> Any:
        return self._body(part, [above[0]] * part.size)

    def items(self, part: Part, above: list[Any]) -> Any:
        return self._body(part, [THERE, *above])

    def listed(self, part: Part, above: list[Any]) -> Any:
        made = self._one(part.name("list"), above[0])
        return self._body(part, [made] * part.size)

    def nested(self, part: Part, above: list[Any]) -> Any:
        made = self._one(part.name("list"), above[0])
        inner, outer = "inner" in part.collect, "outer" in part.collect
        columns: dict[str, list[Any]] = {"inner": [], "each": [], "total": []}
        for number in range(part.size):
            place = f"[{number}]"
            listing = self._element(part.name("inner"), made, place, outer)
            each = listing
            if listing == THERE:  # as many elements as the item says
                places = [f"{place}[{n}]" for n in range(number)]
                name = part.name("each")
                found = [self._element(name, THERE, at, inner or outer) for at in places]
                each = of_elements(found) if inner else needing(found)
            total = self._element(part.name("total"), each, place, outer)
            for role, value in zip(columns, (listing, each, total), strict=True):
                columns[role].append(value)
        for role, values in columns.items():
            self._note(part.name(role), of_elements(values))
        return of_elements(columns["total"])


# The tests


def ended(run: Run) -> tuple[dict[str, tuple[str, str]], dict[str, int]]:
    """Say how each step ended and whose failure it was skipped for; and its attempts."""
    steps = run.steps
    found = {}
    for name, status, reason in zip(steps.index, steps.status, steps.reason, strict=True):
        failure = status == "skipped" and reason.endswith(" failed")
        found[name] = (status, reason.removesuffix(" failed") if failure else "")
    return found, dict(zip(steps.index, steps.attempts, strict=True))


def check(run: Run, expected: Reasoned, what: str) -> None:
    how, attempts = ended(run)
    assert how == expected.ended, what
    assert {name: attempts[name] for name in expected.attempts} == expected.attempts
    assert run.status == ("failed" if expected.failed else "completed")
    assert len(run.dead_letters) == expected.dead


@pytest.mark.parametrize("seed", FLOWS)
def test_without_a_failure_random_flows_end_as_reasoned(seed: int) -> None:
    parts = drawn(seed)
    flow, expected = written(parts), Reasoned(parts, "")
    value = flow.call()
    for each in (flow, flow.options(fuse=False)):
        run = each.submit()
        assert run.result(timeout=60) == value
        check(run, expected, f"nobody of {parts}")


@pytest.mark.parametrize("how", ["fused", "unfused"])
@pytest.mark.parametrize("seed", FLOWS)
def test_fail_each_step_in_turn(seed: int, how: str) -> None:
    parts = drawn(seed)
    flow = written(parts)
    if how == "unfused":
        flow = flow.options(fuse=False)
    told: dict[str, list[Any]] = {chosen: [] for chosen in flow.steps}
    runs = {
        chosen: flow.on_error(heard.append).submit(params={"chosen": chosen})
        for chosen, heard in told.items()
    }
    for chosen, run in runs.items():
        expected = Reasoned(parts, chosen)
        if expected.failed:
            with pytest.raises(Broken) as caught:
                run.result(timeout=60)
            assert caught.value.args == (chosen, "it was chosen")
            [note] = caught.value.__notes__
            assert f"'{chosen}" in note
            assert run.id in note
        else:
            assert run.result(timeout=60) == flow.call(params={"chosen": chosen})
        run.wait_for_handlers()
        check(run, expected, f"{chosen} of {parts}")
        assert [[each.step for each in failures] for failures in told[chosen]] == (
            [[chosen]] if expected.failed else []
        )


@pytest.mark.parametrize("seed", FLOWS)
def test_run_raises_the_users_own_exception(seed: int) -> None:
    told: list[Any] = []
    with pytest.raises(Broken, match="step0") as caught:
        written(drawn(seed)).on_error(told.append).run(params={"chosen": "step0"})
    run = nbflow.last_run()
    assert caught.value is run.error("step0")
    assert caught.value.args == ("step0", "it was chosen")
    [note] = caught.value.__notes__
    assert "'step0'" in note
    assert run.id in note
    [[failure]] = told
    assert (failure.step, failure.element, failure.error.args) == (
        "step0",
        None,
        ("step0", "it was chosen"),
    )
    check(run, Reasoned(drawn(seed), "step0"), "step0")


@pytest.mark.parametrize("seed", FLOWS)
def test_fail_each_step_in_turn_in_this_process(seed: int) -> None:
    parts = drawn(seed)
    told: list[Any] = []
    flow = written(parts).on_error(told.append)
    for chosen in flow.steps:
        told.clear()
        if Reasoned(parts, chosen).failed:
            with pytest.raises(Broken) as caught:
                flow.call(params={"chosen": chosen})
            assert caught.value.args == (chosen, "it was chosen")
            assert [[each.step for each in failures] for failures in told] == [[chosen]]
        else:
            flow.call(params={"chosen": chosen})
            assert told == []


def test_the_random_flows_have_every_kind_of_part_and_of_edge() -> None:
    parts = [part for seed in FLOWS for part in drawn(seed)]
    assert {part.kind for part in parts} == set(KINDS)
    assert {part.edge for part in parts if part.kind == "step"} == set(EDGES)
    assert {part.collect for part in parts if part.kind == "nested"} >= {"", "inner", "outer"}
    assert {part.tries for part in parts} == {"", "stubborn", "twice"}
    ways = {part.way for part in parts if part.kind == "branch"}
    assert {way for way, _ in ways} == {True, False}
    assert {arms for _, arms in ways} == {"then", "then other", "then next other"}
    assert (False, "then") in ways


@step
def upto_two(item: int) -> list[int]:
    return list(range(2))


@step
def even(n: int) -> int:
    if n % 2:
        raise Broken("even", f"{n} is not")
    return n


def test_what_a_map_in_a_map_puts_aside_is_a_dead_letter() -> None:
    run = (upto_two >> even.map(on_error="collect")).map([7, 8]).submit()
    assert run.result(timeout=60) == [[0], [0]]
    assert list(run.dead_letters.step) == ["even", "even"]


def test_a_step_that_is_skipped_has_no_attempts(tmp_path: Path) -> None:
    def thinks(value: Any) -> bool:
        while not (tmp_path / "seen").exists():
            time.sleep(0.01)
        return False

    run = (1 >> step(lambda value: value, name="unwanted", when=thinks)).submit()
    with run._record.changed:
        run._record.changed.wait_for(lambda: run.state.steps["unwanted"].attempts, timeout=5)
    (tmp_path / "seen").touch()
    assert run.result(timeout=60) is None
    assert (run.steps.status["unwanted"], run.steps.attempts["unwanted"]) == ("skipped", 0)
