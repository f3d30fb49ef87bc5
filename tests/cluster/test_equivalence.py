"""Fusing steps into tasks changes nothing that a user can see."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from strategies import recorded_calls, trees, written

from nbflow import Flow, group, step
from nbflow.algebra.evaluate import bound_params
from nbflow.record.events import Event, Status
from nbflow.running.drive import planned
from nbflow.running.pace import learn

pytestmark = [pytest.mark.timeout(150), pytest.mark.usefixtures("client")]

calm = {
    "deadline": None,
    "database": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
    # Making a failing example smaller would take as long as a run that hangs, again and again.
    "phases": [Phase.generate],
}


def all_quick(flow: Flow) -> None:
    """Let it be known of all steps that they are quick, so that they travel together."""
    topology = flow.topology
    ended = [Event(name, Status.COMPLETED, 1.0, seconds=0.0001) for name in topology.names]
    state = planned(topology, "before", "before", 0.0).apply(ended)
    learn(topology, bound_params(topology, {}), state)


def check(tree: Any, how: str) -> dict[str, Any]:
    """Compute a flow one way; give what the table of steps says of it."""
    steps: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        example = written(tree, folder)
        if how == "call":
            value = example.flow.call()
        else:
            flow = example.flow.options(fuse=False) if how == "unfused" else example.flow
            if how == "gathered":
                all_quick(flow)
            run = flow.submit()
            value = run.result(timeout=60)
            steps = {
                name: (each.status, each.attempts, each.reason, each.failed, each.collected)
                for name, each in run.state.steps.items()
            }
        assert value == example.value
        assert repr(value) == repr(example.value)
        assert recorded_calls(folder) == example.calls
    for flow, names, text, known in example.operands:
        assert (flow.steps, repr(flow), hash(flow)) == (names, text, known)
    return steps


@pytest.mark.timeout(900)
@settings(max_examples=80, **calm)  # type: ignore[arg-type]
@given(tree=trees())
def test_random_flows_give_their_values_and_records_by_call_fused_and_unfused(tree: Any) -> None:
    check(tree, "call")
    fused, unfused = check(tree, "fused"), check(tree, "unfused")
    assert fused == unfused == check(tree, "gathered")
    assert {status for status, *_ in fused.values()} <= {Status.COMPLETED, Status.SKIPPED}


# Failures


@dataclass(frozen=True)
class Part:
    """One step of a random graph: what it takes, how, and whether it fails."""

    upstream: tuple[int, ...]
    how: str
    fails: bool
    elements: int | None


class Broken(Exception):
    pass


def work(*values: Any, number: int, fails: bool, **named: Any) -> Any:
    if fails:
        raise Broken(number)
    return number, values, sorted(named.items())


def pick(value: Any, *values: Any, number: int, fails: bool, **named: Any) -> Any:
    # The item of a map comes after what flows in, so the last value is it.
    item = (value, *values)[-1]
    if fails and item % 3 == 1:
        raise Broken(number)
    return number, item


@st.composite
def graphs(draw: Any) -> tuple[Part, ...]:
    parts = []
    for number in range(draw(st.integers(1, 9))):
        size = min(number, draw(st.integers(0, 3)))
        earlier = st.integers(0, max(0, number - 1))
        some = st.lists(earlier, min_size=size, max_size=size, unique=True)
        parts.append(
            Part(
                tuple(draw(some)) if number else (),
                draw(st.sampled_from(["list", "tuple", "dict", "argument", "after"])),
                draw(st.integers(0, 4)) == 0,
                draw(st.sampled_from([None, None, None, 0, 1, 5])),
            )
        )
    return tuple(parts)


def built(parts: tuple[Part, ...]) -> Flow:
    flows: list[Any] = []
    for number, part in enumerate(parts):
        options = {"number": number, "fails": part.fails}
        above = [flows[each] for each in part.upstream]
        if part.elements is not None:
            placed = step(pick).named(f"n{number}").s(**options).map(range(part.elements))
            flows.append(above >> placed if above else placed)
            continue
        one = step(work).named(f"n{number}")
        if not above:
            flows.append(one.s(**options))
        elif part.how == "list":
            flows.append(above >> one.s(**options))
        elif part.how == "tuple":
            flows.append(tuple(above) >> one.s(**options))
        elif part.how == "dict":
            flows.append({f"k{i}": each for i, each in enumerate(above)} >> one.s(**options))
        elif part.how == "argument":
            flows.append(one.s({"deep": above}, **options))
        else:
            flows.append(above >> one.si(**options))
    return group(flows)


def expected(parts: tuple[Part, ...]) -> dict[str, tuple[str, int]]:
    """Say by plain reasoning how each step ends, and after how many attempts."""
    ended: list[str] = []
    for part in parts:
        fails = part.fails and (part.elements is None or part.elements > 1)
        # Over nothing, a map gives an empty list whatever else it needs.
        if part.elements != 0 and any(ended[each] != "completed" for each in part.upstream):
            ended.append("skipped")
        else:
            ended.append("failed" if fails else "completed")
    return {f"n{n}": (how, int(how != "skipped")) for n, how in enumerate(ended)}


def seen(flow: Flow) -> Any:
    run = flow.run(raise_on_error=False)
    steps = run.steps
    table = {
        name: (str(steps.status[name]), int(steps.attempts[name])) for name in sorted(steps.index)
    }
    failures = {
        name: (type(error).__name__, error.args)
        for name in steps.index
        if (error := run.error(name)) is not None
    }
    values = {name: run.value(name) for name, (status, _) in table.items() if status == "completed"}
    culprits = {reason.split("[")[0].split(" ")[0] for reason in steps.reason if "failed" in reason}
    assert culprits <= set(failures)
    return table, failures, values


def compare(parts: tuple[Part, ...]) -> None:
    flow = built(parts)
    fused, unfused = seen(flow), seen(flow.options(fuse=False))
    all_quick(flow)
    assert fused == unfused == seen(flow)
    assert fused[0] == expected(parts)
    if not fused[1]:
        assert flow.run().result() == flow.call()


@settings(max_examples=30, **calm)  # type: ignore[arg-type]
@given(parts=graphs())
def test_failures_end_alike_fused_and_unfused(parts: tuple[Part, ...]) -> None:
    compare(parts)
