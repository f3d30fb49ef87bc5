"""The jobs that are measured, each in several ways: plain Python, raw Dask, nbflow.

Every way does the same, with the same functions, and gives the same result.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from dask.task_spec import List, Task, TaskRef
from distributed import Client
from measuring import Job, Way

from nbflow import step
from nbflow.algebra.flow import Flow
from nbflow.notebook import render

LAYERS, WIDTH = 10, 10
ROWS = 10_000_000


def inc(x: int) -> int:
    return x + 1


def plus(x: int, n: int) -> int:
    """Do what `inc` does, as one of many steps that are not the same."""
    return x + 1


def mix(xs: list[int], n: int) -> int:
    return sum(xs) % 1_000 + n


def total(xs: list[int]) -> int:
    return sum(xs)


def inc_each(start: int, stop: int) -> list[int]:
    return [inc(x) for x in range(start, stop)]


def sum_each(parts: list[list[int]]) -> int:
    return sum(map(sum, parts))


def make_frame() -> pd.DataFrame:
    """Make a frame of 200 MB."""
    a = np.arange(ROWS, dtype="float64")
    columns = {"a": a, "b": a * 0.5, "c": np.arange(ROWS, dtype="int32")}
    return pd.DataFrame(columns, copy=False)


def add_one(df: pd.DataFrame) -> pd.DataFrame:
    return df.assign(a=df["a"] + 1.0)


def ends_of(df: pd.DataFrame) -> float:
    return float(df["a"].iloc[0] + df["a"].iloc[-1])


def whole_frame() -> float:
    df = make_frame()
    for _ in range(5):
        df = add_one(df)
    return ends_of(df)


increment, summed = step(inc), step(total)
adding, mixing = step(plus), step(mix)
making, adding_one, ends = step(make_frame), step(add_one), step(ends_of)


def ran(flow: Flow, **options: Any) -> Any:
    return flow.run(display=None, **options).result()


# Flows


def chain(length: int) -> Flow:
    flow = 0 >> increment
    for _ in range(length - 1):
        flow = flow >> increment
    return flow


def fan(width: int) -> Flow:
    source = increment.s(0)
    return [adding.s(source, n) for n in range(width)] >> summed


def mesh() -> Flow:
    layer: Any = [mixing.s([1], n) for n in range(WIDTH)]
    for _ in range(LAYERS - 1):
        layer = [mixing.s(layer, n) for n in range(WIDTH)]
    return layer >> summed


def framed() -> Flow:
    flow = making.s()
    for _ in range(5):
        flow = flow >> adding_one
    return flow >> ends


# The same by hand, for Dask


def graph_of_chain(length: int, name: str) -> tuple[dict[Any, Task], Any]:
    graph = {(name, 0): Task((name, 0), inc, 0)}
    for n in range(1, length):
        graph[name, n] = Task((name, n), inc, TaskRef((name, n - 1)))
    return graph, (name, length - 1)


def graph_of_fan(width: int, name: str) -> tuple[dict[Any, Task], Any]:
    graph = {(name, -1): Task((name, -1), inc, 0)}
    for n in range(width):
        graph[name, n] = Task((name, n), plus, TaskRef((name, -1)), n)
    members = List(*(TaskRef((name, n)) for n in range(width)))
    graph[name, width] = Task((name, width), total, members)
    return graph, (name, width)


def graph_of_mesh(name: str) -> tuple[dict[Any, Task], Any]:
    graph: dict[Any, Task] = {}
    before: Any = [1]
    for layer in range(LAYERS):
        keys = [(name, layer, n) for n in range(WIDTH)]
        graph |= {key: Task(key, mix, before, n) for n, key in enumerate(keys)}
        before = List(*map(TaskRef, keys))
    graph[name, "sum"] = Task((name, "sum"), total, before)
    return graph, (name, "sum")


def graph_of_chunks(count: int, size: int, name: str) -> tuple[dict[Any, Task], Any]:
    starts = range(0, count, size)
    graph = {(name, n): Task((name, n), inc_each, n, min(n + size, count)) for n in starts}
    members = List(*(TaskRef((name, n)) for n in starts))
    graph[name, "sum"] = Task((name, "sum"), sum_each, members)
    return graph, (name, "sum")


def by_dask(client: Client, build: Callable[..., Any], *args: Any) -> Way:
    """Send a graph that is built before the time is taken."""
    return Way(
        "raw Dask",
        lambda built: client.get(*built),
        ready=lambda: build(*args, uuid.uuid4().hex),
    )


# Plain Python


def plain_chain(length: int) -> int:
    x = 0
    for _ in range(length):
        x = inc(x)
    return x


def plain_mesh() -> int:
    layer = [mix([1], n) for n in range(WIDTH)]
    for _ in range(LAYERS - 1):
        layer = [mix(layer, n) for n in range(WIDTH)]
    return total(layer)


# Jobs


def chains(client: Client) -> Iterator[Job]:
    flow = chain(1_000)
    yield Job(
        "W1",
        "a chain of 1,000 steps",
        1_000,
        1_000,
        (
            replace(by_dask(client, graph_of_chain, 1_000), rounds=3),
            Way("plain Python", partial(plain_chain, 1_000)),
            Way("nbflow", partial(ran, flow), floor="raw Dask", bar=1 / 50),
            Way("nbflow, nothing written down", partial(ran, flow, store=False), floor="raw Dask"),
        ),
    )


def fans(client: Client) -> Iterator[Job]:
    flow = fan(1_000)
    alone = flow.options(fuse=False)
    yield Job(
        "W2",
        "1 step, 1,000 side by side, 1 step",
        1_002,
        2_000,
        (
            replace(by_dask(client, graph_of_fan, 1_000), rounds=5),
            Way("nbflow", partial(ran, flow), floor="raw Dask", bar=1 / 4),
            Way(
                "nbflow, each step its own task",
                partial(ran, alone),
                floor="raw Dask",
                bar=1.15,
                rounds=5,
            ),
        ),
    )


def meshes(client: Client) -> Iterator[Job]:
    flow = mesh()
    yield Job(
        "W3",
        "10 layers of 10 steps, each after all of the layer before",
        101,
        plain_mesh(),
        (
            by_dask(client, graph_of_mesh),
            Way("nbflow", partial(ran, flow), floor="raw Dask", bar=1 / 4),
        ),
    )


def maps(client: Client) -> Iterator[Job]:
    count = 100_000
    flow = increment.map(range(count)) >> summed
    yield Job(
        "W4",
        "a map over 100,000 elements, and a sum",
        count,
        sum(range(1, count + 1)),
        (
            Way("plain Python", lambda: total(inc_each(0, count))),
            replace(by_dask(client, graph_of_chunks, count, 1_000), name="Dask, 100 chunks"),
            replace(by_dask(client, graph_of_chunks, count, 10_000), name="Dask, 10 chunks"),
            Way("nbflow", partial(ran, flow), floor="Dask, 100 chunks", bar=2.0),
        ),
    )


def large_maps(client: Client) -> Iterator[Job]:
    for count in (100_000, 1_000_000):
        flow = increment.map(range(count)) >> summed
        yield Job(
            f"W4 {count:,}",
            f"a map over {count:,} elements: memory",
            count,
            sum(range(1, count + 1)),
            (Way("nbflow", partial(ran, flow), rounds=2),),
            memory=True,
        )


def frames(client: Client) -> Iterator[Job]:
    flow = framed()
    yield Job(
        "W5",
        "a frame of 200 MB through five steps",
        5,
        float(ROWS - 1) + 10.0,
        (
            Way("one Dask task", lambda: client.submit(whole_frame, pure=False).result()),
            Way("plain pandas", whole_frame),
            Way("nbflow", partial(ran, flow), floor="one Dask task", bar=1.3),
        ),
        memory=True,
    )


def builds(client: Client) -> Iterator[Job]:
    for length in (1_000, 10_000):
        yield Job(
            f"W6 {length:,}",
            f"building a chain of {length:,} steps",
            length,
            True,
            (
                Way("graph for Dask", lambda n=length: bool(graph_of_chain(n, "c"))),
                Way("nbflow", lambda n=length: chain(n) is not None),
            ),
        )


def commits(count: int) -> int:
    """Commit so often that each is on the disk."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("NBFLOW_STORE")) as folder:
        connection = sqlite3.connect(Path(folder, "x.sqlite"), isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE t (n, b)")
        for n in range(count):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO t VALUES (?, ?)", (n, b"x" * 64))
            connection.execute("COMMIT")
        connection.close()
    return count


def checkpoints(client: Client) -> Iterator[Job]:
    flow = chain(200)
    yield Job(
        "W7",
        "a chain of 200 steps, the result of each on the disk",
        200,
        200,
        (
            Way("200 commits to SQLite", partial(commits, 200)),
            Way(
                "nbflow",
                partial(ran, flow, checkpoint=True),
                floor="200 commits to SQLite",
                bar=0.5,
            ),
        ),
    )


def pictures(client: Client) -> Iterator[Job]:
    for length in (100, 1_000):
        flow = chain(length)
        source = flow.show(collapse=False).dot
        # What was drawn is remembered.
        anew = render._called.cache_clear
        yield Job(
            f"picture {length:,}",
            f"the picture of a chain of {length:,} steps, none of them gathered",
            length,
            True,
            (
                Way("Graphviz", lambda _, s=source: bool(render._rendered(s, "svg")), anew),
                Way(
                    "nbflow",
                    lambda _, f=flow: bool(f.show(collapse=False).svg),
                    anew,
                    floor="Graphviz",
                    bar=1.1,
                ),
            ),
        )


JOBS = {
    "W1": chains,
    "W2": fans,
    "W3": meshes,
    "W4": maps,
    "W4-memory": large_maps,
    "W5": frames,
    "W6": builds,
    "W7": checkpoints,
    "picture": pictures,
}
