"""The command line: ``nbflow run FILE:flow``, ``nbflow resume ID``, and what goes with them."""

from __future__ import annotations

import argparse
import ast
import sys
import time
import traceback
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from nbflow.errors import NbflowError, RunError, quoted
from nbflow.notebook.arguments import (
    Adder,
    Help,
    LineError,
    add_checkpoint,
    add_drawing,
    add_params,
    add_renamed,
    add_store,
    add_verdict,
    checkpoint_of,
    drawing_options,
    parser,
    renamed_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbflow.running.run import Run

_MOST_REASONS = 50
_WIDE = ("display.width", 120, "display.max_columns", 12)


def _add_run(to: argparse.ArgumentParser) -> None:
    to.add_argument("flow", metavar="FILE:FLOW", help="a module or notebook, and the flow in it")
    add_params(to)
    add_store(to)
    to.add_argument("--key", help="name the run once and for all: the same key is the same run")
    add_checkpoint(to)
    _add_cluster(to)
    _add_report(to)


def _add_cluster(to: argparse.ArgumentParser) -> None:
    to.add_argument("--cluster", metavar="ADDRESS", help="a scheduler; a local cluster if left out")
    to.add_argument("--workers", type=int, metavar="N", help="worker processes of a local cluster")


def _add_report(to: argparse.ArgumentParser) -> None:
    to.add_argument("--report", metavar="FILE", help="write the picture and the tables as HTML")


def _add_load(to: argparse.ArgumentParser) -> None:
    to.add_argument("run", metavar="ID", help="the id of a run")
    add_store(to)
    _add_report(to)


def _add_resume(to: argparse.ArgumentParser) -> None:
    to.add_argument("run", metavar="ID", help="the id of a run")
    to.add_argument("--flow", metavar="FILE:FLOW", help="the flow as it is now, if it has changed")
    add_renamed(to)
    to.add_argument(
        "--force", action="store_true", help="take it from a process that still drives it"
    )
    add_store(to)
    add_checkpoint(to, "as before")
    _add_cluster(to)
    _add_report(to)


def _add_resolve(to: argparse.ArgumentParser) -> None:
    to.add_argument("run", metavar="ID", help="the id of a run")
    to.add_argument("step", help="the name of a step, or of an element such as charge[3]")
    add_verdict(to)
    add_store(to)


def _add_undo(to: argparse.ArgumentParser) -> None:
    to.add_argument("run", metavar="ID", help="the id of a run")
    add_store(to)
    _add_cluster(to)
    _add_report(to)


def _add_show(to: argparse.ArgumentParser) -> None:
    to.add_argument("flow", metavar="FILE:FLOW", help="a module or notebook, and the flow in it")
    add_drawing(to)
    to.add_argument(
        "--output", metavar="FILE", help="write it as .svg, .png, .pdf, .html, .dot or .mmd"
    )


def _add_tick(to: argparse.ArgumentParser) -> None:
    to.add_argument("--store", metavar="PLACE", help="where the runs are; .nbflow if left out")


COMMANDS: tuple[tuple[str, str, Adder], ...] = (
    ("run", "run a flow, and print its steps and its result", _add_run),
    ("show", "print or draw a flow", _add_show),
    ("runs", "list all runs, the newest first", add_store),
    ("load", "print how a run went, or stands", _add_load),
    ("resume", "go on with a run that has stopped, to its end", _add_resume),
    ("resolve", "say what became of a step that is in doubt", _add_resolve),
    ("undo", "undo what a run has done, by the compensate of its steps", _add_undo),
    ("tick", "start the runs whose time has come, and wait for their end", _add_tick),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what a command line says; give the exit code.

    0 is success, 1 a run that failed, 2 a mistake in the line or in the flow.
    """
    line = parser("nbflow", COMMANDS)
    try:
        given = line.parse_args((sys.argv[1:] if arguments is None else arguments) or ["--help"])
        return _DOING[given.command](given)
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
    from nbflow.notebook.outlook import outlook
    from nbflow.notebook.source import flow_from
    from nbflow.notebook.wording import counted
    from nbflow.running.launch import submit

    flow, policy = flow_from(given.flow), checkpoint_of(given)
    _connect(given)
    run = submit(
        flow,
        params=dict(given.param),
        cluster=given.cluster,
        store=given.store,
        key=given.key,
        checkpoint="auto" if policy is None else policy,
    )
    waits = f", {outlook(run.state, deterministic=False)}" if run.status == "pending" else ""
    steps = counted(len(flow), "step")
    print(f"{flow.name}: {steps}, run {run.id}{waits}", flush=True)
    _print_outcome(run, reported=_wait_for_end(run))
    _write_report(run, given)
    return 0 if run.status == "completed" else 1


def _wait_for_end(run: Run) -> bool:
    """Wait for the end of a run; tell whether a terminal shows it, and its report at the end."""
    from nbflow.notebook.watching import chosen, watched
    from nbflow.running.interrupts import held_back
    from nbflow.running.launch import wait_for_end

    with held_back(), watched(run, "live"):
        wait_for_end(run)
    return chosen("live") is not None


def _write_report(run: Run, given: argparse.Namespace) -> None:
    from nbflow.notebook.html import page
    from nbflow.notebook.report import report

    if given.report:
        html = page(run.name, report(run.flow, run.state).html)
        Path(given.report).write_text(html, encoding="utf-8")
        print(f"\nreport written to {given.report}")


def _runs(given: argparse.Namespace) -> int:
    from nbflow.notebook.records import table

    found = table(given.store).rename_axis(index="id").reset_index()
    print(found.to_string(index=False, na_rep="") if len(found) else "no run is written down here")
    return 0


def _load(given: argparse.Namespace) -> int:
    from nbflow.notebook.report import report
    from nbflow.running.history import load

    run = load(given.run, given.store)
    print(report(run.flow, run.state).text)
    _write_report(run, given)
    return 0


def _resume(given: argparse.Namespace) -> int:
    from nbflow.notebook.source import flow_from
    from nbflow.running.history import load

    flow = None if given.flow is None else flow_from(given.flow)
    stopped = load(given.run, given.store)
    renamed = renamed_of(given, stopped.state.steps, None if flow is None else flow.steps)
    _connect(given)
    run = stopped.resume(
        flow,
        cluster=given.cluster,
        renamed=renamed,
        force=given.force,
        checkpoint=checkpoint_of(given),
    )
    _print_outcome(run, reported=_wait_for_end(run))
    _write_report(run, given)
    return 0 if run.status == "completed" else 1


def _resolve(given: argparse.Namespace) -> int:
    from nbflow.running.history import load

    run = load(given.run, given.store)
    if given.completed is not None:
        run.resolve(given.step, completed=_literal(given.completed))
    elif given.retry:
        run.resolve(given.step, retry=True)
    else:
        run.resolve(given.step, failed=True)
    print(f"that is written down; go on with: nbflow resume {run.id}")
    return 0


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise LineError(
            f"nbflow resolve: {quoted(text)} is no Python literal; expected is a number, a text in "
            f"quotes, or a list or dict of such"
        ) from None


def _undo(given: argparse.Namespace) -> int:
    from nbflow.notebook.report import report
    from nbflow.running.history import load

    done = load(given.run, given.store)
    _connect(given)
    run = done.undo(cluster=given.cluster)
    if not _wait_for_end(run):
        print(report(run.flow, run.state).text)
    _write_report(run, given)
    return 0 if run.status == "compensated" else 1


def _connect(given: argparse.Namespace) -> None:
    from nbflow.running.cluster import connect

    if given.workers is not None:
        connect(n_workers=given.workers)


def _tick(given: argparse.Namespace) -> int:
    from nbflow.record.archive import Archive
    from nbflow.running.clock import tick

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
        seconds = run.state.seconds(time.time())
        reason = f": {run.state.reason}" if run.state.reason else ""
        print(f"{run.name}: run {run.id} is {run.status} after {seconds:.1f} s{reason}", flush=True)
    return 0 if not refused and all(run.status == "completed" for run in started) else 1


def _print_outcome(run: Run, *, reported: bool) -> None:
    import pandas as pd

    from nbflow.values.tables import to_frame

    if not reported:
        _print_steps(run)
    seconds = run.state.seconds(time.time())
    print(f"\n{run.status} in {seconds:.1f} s", flush=True)
    _print_advice(run)
    if run.status == "interrupted":
        return
    with pd.option_context(*_WIDE, "display.max_rows", 24, "display.min_rows", 24):
        try:
            print(f"\n{to_frame(run.result())}")
        except RunError as error:
            if getattr(error, "__notes__", None):
                traceback.print_exc()  # a step raised it
            else:
                print(f"nbflow: {error}", file=sys.stderr)
        except BaseException:  # noqa: BLE001 - whatever a step raised is what the user wants to see
            traceback.print_exc()


def _print_steps(run: Run) -> None:
    import pandas as pd

    from nbflow.notebook.appearance import seen, shown

    table = run.steps.drop(columns=["started", "worker"])
    table["status"] = [shown(each).value for each in seen(run.state).steps.values()]
    reasons = table.pop("reason")
    with pd.option_context(*_WIDE, "display.max_rows", 200):
        print(f"\n{table.round({'seconds': 3})}")
    for name, reason in reasons[reasons != ""].head(_MOST_REASONS).items():
        print(f"{name}: {reason}")


def _print_advice(run: Run) -> None:
    """Say why a run stopped before its end, and what to type then."""
    state = run.state
    doubts = [called for each in state.steps.values() for called, _ in each.in_doubt]
    if state.reason:
        print(state.reason)
    if doubts and run.status == "interrupted":
        # A shell takes brackets for a pattern.
        named = quote(doubts[0])
        print(f"here: nbflow resolve {run.id} {named} --completed VALUE, --retry or --failed")
    if run.status == "interrupted":
        print(f"then: nbflow resume {run.id}" if doubts else f"here: nbflow resume {run.id}")
    elif state.rollback is not None and run.status == "failed":
        print(f"here: nbflow undo {run.id} tries again")


def _show(given: argparse.Namespace) -> int:
    from nbflow.notebook.source import flow_from

    flow, options = flow_from(given.flow), drawing_options(given)
    if given.output is None:
        print(flow.show(**options).text)
    else:
        flow.save(given.output, **options)
    return 0


_DOING = {
    "run": _run,
    "show": _show,
    "runs": _runs,
    "load": _load,
    "resume": _resume,
    "resolve": _resolve,
    "undo": _undo,
    "tick": _tick,
}

if __name__ == "__main__":
    sys.exit(main())
