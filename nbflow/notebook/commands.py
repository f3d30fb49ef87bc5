"""The sub-commands of ``%flow``, and the arguments of each."""

from __future__ import annotations

import argparse

from nbflow.notebook.arguments import Adder, add_drawing, add_params

MAGIC_NAMES = ("flow", "nbflow")


def _add_run(to: argparse.ArgumentParser) -> None:
    to.add_argument("flow", help="the name of a flow")
    to.add_argument("inputs", nargs="*", help="names or values for its open first steps")
    add_params(to)
    to.add_argument(
        "--cluster", metavar="ADDRESS", help="where to run, instead of the current cluster"
    )
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
    to.add_argument("--no-wait", action="store_true", help="start it, and return at once")
    to.add_argument(
        "--no-raise", action="store_true", help="show a failed run without its traceback"
    )


def _add_replay(to: argparse.ArgumentParser) -> None:
    to.add_argument("step", help="the name of a step, or of an element such as parse[3]")
    to.add_argument("--run", help="the name or the id of a run; the last one if left out")


def _add_result(to: argparse.ArgumentParser) -> None:
    to.add_argument("step", nargs="?", help="the name of a step; the whole flow if left out")
    to.add_argument("--run", help="the name of a run; the last one if left out")


def _add_connect(to: argparse.ArgumentParser) -> None:
    to.add_argument("address", nargs="?", help="a scheduler; a new local cluster if left out")
    to.add_argument("--workers", type=int, metavar="N", help="worker processes of a local cluster")
    to.add_argument("--threads", type=int, metavar="N", help="threads of each of them")


COMMANDS: tuple[tuple[str, str, Adder], ...] = (
    ("run", "run a flow, and show how it went", _add_run),
    ("show", "draw a flow, or a run", _add_show),
    ("steps", "the table of steps of a run", _add_chosen),
    ("status", "how a run is, in one line for each step", _add_chosen),
    ("result", "a result as a DataFrame", _add_result),
    ("cancel", "let no other step of a run begin, and ask those that run to stop", _add_chosen),
    ("redrive", "compute the elements that were put aside again", _add_redrive),
    ("replay", "compute a step once more, here, with the inputs it had", _add_replay),
    ("connect", "choose the cluster", _add_connect),
)
