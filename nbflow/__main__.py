"""The command line: ``nbflow run FILE:flow``, ``nbflow show FILE:flow`` and ``nbflow tick``."""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from nbflow.errors import NbflowError, quoted
from nbflow.notebook.arguments import (
    Adder,
    Help,
    LineError,
    add_drawing,
    add_params,
    drawing_options,
    parser,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbflow.run import Run


def _add_run(to: argparse.ArgumentParser) -> None:
    to.add_argument("flow", metavar="FILE:FLOW", help="a module or notebook, and the flow in it")
    add_params(to)
    to.add_argument("--cluster", metavar="ADDRESS", help="a scheduler; a local cluster if left out")
    to.add_argument("--workers", type=int, metavar="N", help="worker processes of a local cluster")
    to.add_argument("--report", metavar="FILE", help="write the picture and the tables as HTML")


def _add_show(to: argparse.ArgumentParser) -> None:
    to.add_argument("flow", metavar="FILE:FLOW", help="a module or notebook, and the flow in it")
    add_drawing(to)
    to.add_argument("--output", metavar="FILE", help="write .svg, .dot or .html instead of text")


def _add_tick(to: argparse.ArgumentParser) -> None:
    to.add_argument("--store", metavar="PLACE", help="where the runs are; .nbflow if left out")


COMMANDS: tuple[tuple[str, str, Adder], ...] = (
    ("run", "run a flow, and print its steps and its result", _add_run),
    ("show", "print or draw a flow", _add_show),
    ("tick", "start the runs whose time has come, and wait for their end", _add_tick),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what a command line says; give the exit code.

    0 is success, 1 a run that failed, 2 a mistake in the line or in the flow.
    """
    line = parser("nbflow", COMMANDS)
    try:
        given = line.parse_args((sys.argv[1:] if arguments is None else arguments) or ["--help"])
        if given.command == "tick":
            return _tick(given)
        return _run(given) if given.command == "run" else _show(given)
    except Help as text:
        print(str(text).strip())
        return 0
    except LineError as error:
        print(error, file=sys.stderr)
        return 2
    except (NbflowError, OSError) as error:
        print(f"nbflow: {error}", file=sys.stderr)
        return 2


def _run(given: argparse.Namespace) -> int:
    from nbflow.cluster import connect
    from nbflow.launch import submit, wait_for_end
    from nbflow.notebook.source import flow_from

    flow = flow_from(given.flow)
    if given.workers is not None:
        connect(n_workers=given.workers)
    run = submit(flow, params=dict(given.param), cluster=given.cluster)
    print(f"{flow.name}: {len(flow)} step{'s' * (len(flow) != 1)}, run {run.id}", flush=True)
    wait_for_end(run)
    run.wait_for_handlers()
    _print_outcome(run)
    if given.report:
        from nbflow.notebook.html import page
        from nbflow.notebook.report import report

        html = page(flow.name, report(run.flow, run.state).html)
        Path(given.report).write_text(html, encoding="utf-8")
        print(f"\nreport written to {given.report}")
    return 0 if run.status == "completed" else 1


def _tick(given: argparse.Namespace) -> int:
    from nbflow.archive import Archive
    from nbflow.clock import tick

    refused: list[str] = []

    def refuse(run_id: str, error: Exception) -> None:
        refused.append(run_id)
        print(f"nbflow: run {quoted(run_id)} is not started: {error}", file=sys.stderr)

    started = tick(Archive.of(given.store), refuse)
    if not started and not refused:
        print("nothing is due")
    for run in started:
        run.wait()
        run.wait_for_handlers()
        seconds = (run.state.ended or 0.0) - run.state.started
        reason = f": {run.state.reason}" if run.state.reason else ""
        print(f"{run.name}: run {run.id} is {run.status} after {seconds:.1f} s{reason}", flush=True)
    return 0 if not refused and all(run.status == "completed" for run in started) else 1


def _print_outcome(run: Run) -> None:
    import pandas as pd

    from nbflow.tables import to_frame

    shown = run.steps.drop(columns=["started", "worker"])
    if not shown["reason"].any():
        shown = shown.drop(columns="reason")
    seconds = (run.state.ended or 0.0) - run.state.started
    wide = ("display.width", 120, "display.max_columns", 12)
    with pd.option_context(*wide, "display.max_rows", 200):
        print(f"\n{shown.round({'seconds': 3})}")
    print(f"\n{run.status} in {seconds:.1f} s", flush=True)
    with pd.option_context(*wide, "display.max_rows", 24, "display.min_rows", 24):
        try:
            print(f"\n{to_frame(run.result())}")
        except BaseException:  # noqa: BLE001 - whatever a step raised is what the user wants to see
            traceback.print_exc()


def _show(given: argparse.Namespace) -> int:
    from nbflow.notebook.html import page
    from nbflow.notebook.source import flow_from

    flow = flow_from(given.flow)
    picture = flow.show(**drawing_options(given))
    if given.output is None:
        print(picture.text)
        return 0
    forms = {".svg": picture.svg, ".dot": picture.dot, ".html": page(flow.name, picture.html)}
    content = forms.get(Path(given.output).suffix)
    if content is None:
        raise LineError(f"cannot write {quoted(given.output)}; write .svg, .dot or .html")
    Path(given.output).write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
