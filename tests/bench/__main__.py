"""How fast nbflow is beside plain Python, raw Dask and others: ``python tests/bench``.

Each job is done in several ways, in turn, and what is told are ratios. With
``--history FILE`` what was found is added to a file, a line of JSON each; see
docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import dask
from jobs import JOBS
from measuring import rows, taken

import nbflow


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tests/bench", description=__doc__)
    parser.add_argument("jobs", nargs="*", help=f"of {', '.join(JOBS)}; all of them if none")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is tried")
    parser.add_argument("--history", type=Path, help="a file to which what was found is added")
    asked = parser.parse_args()
    wrong = [each for each in asked.jobs if each not in JOBS]
    if wrong:
        parser.error(f"no job {wrong[0]!r}; there are {', '.join(JOBS)}")
    with tempfile.TemporaryDirectory() as store:
        os.environ["NBFLOW_STORE"] = store
        client = nbflow.connect(n_workers=2, threads_per_worker=1)
        client.run(warm)
        for name in asked.jobs or JOBS:
            for job in JOBS[name](client):
                found = list(rows(job, taken(job, asked.rounds)))
                print(f"\n{job.name}: {job.what}")
                for row in found:
                    print(said(row), flush=True)
                if asked.history is not None:
                    write_down(asked.history, found)


def warm() -> None:
    import pandas as pd

    pd.DataFrame({"a": [1.0]}).assign(b=2)


def said(row: dict) -> str:
    """Say what was found of one way in a line of a table."""
    against = ""
    if row["ratio"] is not None:
        ratio = row["ratio"]
        shown = f"1/{1 / ratio:.0f}" if ratio < 0.2 else f"{ratio:.2f} ×"
        against = f"{shown} of {row['floor']}"
        if row["bar"] is not None:
            against += ", within" if ratio <= row["bar"] else ", ABOVE"
            bar = row["bar"]
            against += f" the bar of {f'1/{1 / bar:.0f}' if bar < 1 else f'{bar:.2f}'}"
    peak = "" if row["peak"] is None else f"{row['peak'] / 1e6:,.0f} MB at most"
    each = f"{1e6 * row['each']:,.2f} µs each"
    parts = f"  {row['way']:<32} {row['seconds']:9.4f} s  {each:>18}  {peak:<16} {against}"
    return parts.rstrip()


def write_down(history: Path, found: list[dict]) -> None:
    """Add what was found to a file, with what it was found on."""
    machine = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "python": platform.python_version(),
        "dask": dask.__version__,
        "nbflow": nbflow.__version__,
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    with history.open("a", encoding="utf-8") as file:
        for row in found:
            file.write(json.dumps({**machine, **row}) + "\n")


if __name__ == "__main__":
    main()
