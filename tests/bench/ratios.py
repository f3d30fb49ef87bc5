"""How nbflow compares with raw Dask and with plain Python, measured in one process.

Run it by hand: ``python tests/bench/ratios.py``. Each figure is the median of some
repeats; the ratios are what counts, since both sides ran within the same minute.
"""

from __future__ import annotations

import statistics
import time

from dask.task_spec import Task, TaskRef

import nbflow
from nbflow import step


def inc(x):
    return x + 1


def total(xs):
    return sum(xs)


increment = step(inc)


def median_seconds(work, repeats=5):
    work()
    found = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


def nbflow_chain(length):
    flow = 0 >> increment
    for _ in range(length - 1):
        flow = flow >> increment
    return flow


def dask_chain(client, length):
    nonce = str(time.perf_counter_ns())
    graph = {f"c-{nonce}0": Task(f"c-{nonce}0", inc, 0)}
    for i in range(1, length):
        graph[f"c-{nonce}{i}"] = Task(f"c-{nonce}{i}", inc, TaskRef(f"c-{nonce}{i - 1}"))
    return client.get(graph, f"c-{nonce}{length - 1}")


def dask_fan(client, width):
    nonce = str(time.perf_counter_ns())
    keys = [f"f-{nonce}-{i}" for i in range(width)]
    graph = {key: Task(key, inc, i) for i, key in enumerate(keys)}
    graph[f"t-{nonce}"] = Task(f"t-{nonce}", lambda *xs: sum(xs), *map(TaskRef, keys))
    return client.get(graph, f"t-{nonce}")


def main():
    for length in (1_000, 10_000):
        seconds = median_seconds(lambda: nbflow_chain(length))
        print(f"build a chain of {length:>6,}        {1e6 * seconds / length:8.2f} µs a step")
    client = nbflow.connect(n_workers=2, threads_per_worker=1)
    chain = nbflow_chain(1_000)
    assert len(chain.run().steps) == 1_000
    ours = median_seconds(lambda: chain.run())
    theirs = median_seconds(lambda: dask_chain(client, 1_000), repeats=3)
    print(f"chain of 1,000: nbflow {ours:.3f} s, raw Dask {theirs:.2f} s, 1/{theirs / ours:.0f}")
    fan = [increment.s(i) for i in range(1_000)] >> step(total)
    assert fan.run().result() == sum(range(1, 1_001))
    ours = median_seconds(lambda: fan.run())
    alone = fan.options(fuse=False)
    unfused = median_seconds(lambda: alone.run(), repeats=3)
    theirs = median_seconds(lambda: dask_fan(client, 1_000), repeats=3)
    print(
        f"1,000 side by side: nbflow {ours:.3f} s, each its own task {unfused:.2f} s "
        f"({unfused / theirs:.2f} x), raw Dask {theirs:.2f} s, 1/{theirs / ours:.0f}"
    )
    mapped = increment.map(range(100_000)) >> step(total)
    ours = median_seconds(lambda: mapped.run(), repeats=3)
    plain = median_seconds(lambda: sum([inc(i) for i in range(100_000)]))
    print(
        f"map of 100,000: nbflow {ours:.3f} s, {1e6 * ours / 1e5:.1f} µs an element, "
        f"plain Python {plain:.4f} s"
    )


if __name__ == "__main__":
    main()
