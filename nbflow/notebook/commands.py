"""The sub-commands of ``%flow``, and the arguments of each."""

from __future__ import annotations

import argparse

from nbflow.notebook.arguments import (
    Adder,
    add_checkpoint,
    add_drawing,
    add_params,
    add_renamed,
    add_store,
    add_verdict,
)

MAGIC_NAMES = ("flow", "nbflow")


def _add_run(to: argparse.ArgumentParser) -> None:
    to.add_argument("flow", help="the name of a flow")
    to.add_argument("inputs", nargs="*", help="names or values for its open first steps")
    add_params(to)
    _add_cluster(to)
    add_store(to)
    to.add_argument("--key", help="name the run once and for all: the same key is the same run")
    add_checkpoint(to)
    _add_waiting(to)


def _add_cluster(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "--cluster", metavar="ADDRESS", help="where to run, instead of the current cluster"
    )


def _add_waiting(to: argparse.ArgumentParser) -> None:
    to.add_argument("--no-wait", action="store_true", help="start it, and return at once")
    to.add_argument(
        "--no-raise", action="store_true", help="show a failed run without its traceback"
    )


def _add_show(to: argparse.ArgumentParser) -> None:
    to.add_argument("flow", help="the name of a flow or of a run")
    add_drawing(to)


def _add_chosen(to: argparse.ArgumentParser) -> None:
    to.add_argument("run", nargs="?", help="the name or the id of a run; the last one if left out")


def _add_redrive(to: argparse.ArgumentParser) -> None:
    _add_chosen(to)
    _add_waiting(to)


def _add_load(to: argparse.ArgumentParser) -> None:
    to.add_argument("run", help="the id of a run")
    add_store(to)


def _add_resume(to: argparse.ArgumentParser) -> None:
    _add_chosen(to)
    to.add_argument("--flow", help="the name of the flow as it is now, if it has changed")
    add_renamed(to)
    to.add_argument(
        "--force", action="store_true", help="take it from a process that still drives it"
    )
    _add_cluster(to)
    add_store(to)
    add_checkpoint(to, "as before")
    _add_waiting(to)


def _add_undo(to: argparse.ArgumentParser) -> None:
    _add_chosen(to)
    _add_cluster(to)
    add_store(to)
    _add_waiting(to)


def _add_resolve(to: argparse.ArgumentParser) -> None:
    to.add_argument("run", help="the name or the id of a run")
    to.add_argument("step", help="the name of a step, or of an element such as charge[3]")
    add_verdict(to)
    add_store(to)


def _add_replay(to: argparse.ArgumentParser) -> None:
    to.add_argument("step", help="the name of a step, or of an element such as parse[3]")
    to.add_argument("--run", help="the name or the id of a run; the last one if left out")


def _add_result(to: argparse.ArgumentParser) -> None:
    to.add_argument("step", nargs="?", help="the name of a step; the whole flow if left out")
    to.add_argument("--run", help="the name of a run; the last one if left out")


def _add_inspected(to: argparse.ArgumentParser) -> None:
    to.add_argument("--run", help="the name or the id of a run; the last one if left out")
    add_store(to)


def _add_timeline(to: argparse.ArgumentParser) -> None:
    _add_inspected(to)
    to.add_argument("--save", metavar="FILE", help="write the drawing into an .svg file too")


def _add_diff(to: argparse.ArgumentParser) -> None:
    to.add_argument("before", metavar="run", help="the name or the id of the earlier run")
    to.add_argument(
        "run", metavar="other", nargs="?", help="the name or the id of the later one; the last run"
    )
    add_store(to)


def _add_log(to: argparse.ArgumentParser) -> None:
    to.add_argument("step", help="the name of a step, or of an element such as parse[3]")
    to.add_argument("--element", metavar="KEY", help="which element, by its number or its key")
    to.add_argument(
        "--lines", type=int, default=200, metavar="N", help="how many of the last lines to show"
    )
    _add_inspected(to)


def _add_debug(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "step", nargs="?", help="a step, or an element such as parse[3]; what failed first"
    )
    _add_inspected(to)


def _add_table(to: argparse.ArgumentParser) -> None:
    to.add_argument("step", help="the name of a step, or of an element such as parse[3]")
    _add_inspected(to)


def _add_step(to: argparse.ArgumentParser) -> None:
    to.add_argument("name", help="what the step is called, and the flow that ends in it")
    to.add_argument("--inputs", metavar="A,B", help="names that are inputs, though no flows")
    to.add_argument(
        "--options",
        action="append",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="options of the step, such as retry=3 timeout=30",
    )


def _add_connect(to: argparse.ArgumentParser) -> None:
    to.add_argument("address", nargs="?", help="a scheduler; a new local cluster if left out")
    to.add_argument("--workers", type=int, metavar="N", help="worker processes of a local cluster")
    to.add_argument("--threads", type=int, metavar="N", help="threads of each of them")


COMMANDS: tuple[tuple[str, str, Adder], ...] = (
    ("run", "run a flow, and show how it went", _add_run),
    ("show", "draw a flow, or a run", _add_show),
    ("steps", "the table of steps of a run", _add_chosen),
    ("status", "how a run is, in one line for each step", _add_chosen),
    ("rows", "where rows went: what each step got, gave, lost and multiplied", _add_inspected),
    ("timeline", "when and where each step ran, and what waited for what", _add_timeline),
    ("diff", "what differs between two runs, step by step", _add_diff),
    ("log", "what a step printed, logged and warned, wherever it ran", _add_log),
    ("debug", "compute a step that failed once more, here, and look into it with pdb", _add_debug),
    ("table", "a result as a table to sort, search and page through", _add_table),
    ("result", "a result as a DataFrame", _add_result),
    ("cancel", "let no other step of a run begin, and ask those that run to stop", _add_chosen),
    ("runs", "the table of all runs, the newest first", add_store),
    ("load", "give a run back that was written down, and show it", _add_load),
    ("resume", "go on with a run that has stopped, and show how it went", _add_resume),
    ("resolve", "say what became of a step that is in doubt", _add_resolve),
    ("undo", "undo what a run has done, by the compensate of its steps", _add_undo),
    ("redrive", "compute the elements that were put aside again", _add_redrive),
    ("replay", "compute a step once more, here, with the inputs it had", _add_replay),
    ("step", "make a step of a cell: %%%%flow step NAME, then the code", _add_step),
    ("connect", "choose the cluster", _add_connect),
)
