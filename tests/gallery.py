"""Flows to be drawn, and runs of them in every status."""

from __future__ import annotations

import pandas as pd

from nbflow import Flow, Step, step
from nbflow.record.events import ElementRecords, ErrorRecord, Event, Status
from nbflow.record.state import RunState, Shape
from nbflow.values.preview import preview

HOSTILE = [
    '<b onclick="x()">"bold"</b>',
    "<table>",
    "</svg><script>alert(1)</script>",
    "--><img src=x onerror=alert(1)>",
    "a\\nb\\N\\l\\",
    "\\",
    '\\"; evil [label="',
    "two\nlines\tand\r\nmore",
    "bell\x07 escape\x1b[31m",
    "right \u202eto left\u202c \u200f",
    "שלום עולם",
    "日本語のステップ",
    "&lt;not an entity&gt; &amp; &#60;",
    "x" * 3000,
    "a -> b; {rank=same}",
    "`code` $math$ %% comment",
    "node",
    "graph",
    "' \" ` '",
    "\N{LINE SEPARATOR}separated",
    "👩\u200d🔬 lab",
]


def named(name: str) -> Step:
    """Make a step of any arguments with a name."""

    @step(name=name)
    def anything(*args: object, **kwargs: object) -> None: ...

    return anything


extract, clean, merge, load, parse, hourly = map(
    named, ["extract", "clean", "merge", "load", "parse", "hourly"]
)


def chain_of(length: int) -> Flow:
    flow = extract >> clean
    for _ in range(length - 2):
        flow = flow >> clean.s()
    return flow


def wide(width: int) -> Flow:
    return [extract.s(number) >> clean for number in range(width)] >> merge >> load


def etl() -> Flow:
    return ([extract >> clean, named("weather") >> hourly] >> merge >> load).named("etl")


FRAME = pd.DataFrame({"city": ["Oslo", "Rome"] * 602, "sales": [1.5, None] * 602})
ERROR = ErrorRecord("KeyError", "'sales'", "Traceback:\n  line 3, in clean\nKeyError: 'sales'\n")


def event(name: str, status: Status, at: float) -> Event:
    """Make the event with which a step gets a status."""
    ran = status in (Status.COMPLETED, Status.FAILED)
    return Event(
        name,
        status,
        at,
        attempt=3 if status is Status.FAILED else 1,
        worker="tcp://127.0.0.1:4711",
        seconds=0.25 if ran else None,
        preview=preview(FRAME) if status is Status.COMPLETED else None,
        log=f"{name} says hello\n" if ran else "",
        error=ERROR if status is Status.FAILED else None,
        reason="'clean' failed" if status is Status.SKIPPED else "",
    )


def run_of(
    flow: Flow, given: dict[str, Status] | None = None, at: float = 1000.0, run_id: str = "r-1a2b"
) -> RunState:
    """Make the state of a run in which every step completed, but for those given."""
    topology = flow.topology
    elements = {
        name: node.axis and (37 if node.axis.count is None else node.axis.count)
        for name, node in zip(topology.names, topology.nodes, strict=True)
    }
    events = []
    for name in topology.names:
        status = (given or {}).get(name, Status.COMPLETED)
        number = elements[name]
        if status is Status.PENDING:
            continue
        if number is None or status is not Status.COMPLETED:
            events.append(event(name, status, at + 1))
        else:
            events.append(mapped_event(name, number, at + 1))
    return planned(flow, at, run_id).apply(events)


def planned(flow: Flow, at: float = 1000.0, run_id: str = "r-1a2b") -> RunState:
    """Make the state of a run before anything has happened."""
    topology = flow.topology
    shapes = {
        name: Shape(node.axis is not None, node.axis and node.axis.count)
        for name, node in zip(topology.names, topology.nodes, strict=True)
    }
    return RunState.planned(run_id, flow.name, shapes, at)


def mapped_event(
    name: str, done: int, at: float, failed: int = 0, total: int | None = None
) -> Event:
    statuses = (Status.FAILED,) * failed + (Status.COMPLETED,) * (done - failed)
    records = ElementRecords(
        0,
        statuses,
        (0.1,) * done,
        previews={failed: preview(FRAME)},
        errors=dict.fromkeys(range(failed), ERROR),
        rows=100 * done,
        columns=2,
        bytes=1000,
    )
    return Event(name, Status.RUNNING, at, seconds=1.0, elements=records, total=total or done)
