"""What ``%flow`` and ``nbflow`` take on their lines: one grammar for both."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from nbflow.errors import FlowError, did_you_mean, quoted

Adder = Callable[[argparse.ArgumentParser], None]


class LineError(FlowError):
    """A line that does not follow the grammar."""


class Help(Exception):  # noqa: N818 - not an error: the text that was asked for
    """The help that a line asked for."""


class LineParser(argparse.ArgumentParser):
    """A parser that raises instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        """Refuse a line, in one line."""
        raise LineError(f"{self.prog}: {message}; see {self.prog.split()[0]} --help")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Never end the kernel."""
        raise LineError(message or f"{self.prog} ended with {status}")

    def print_help(self, file: Any = None) -> None:
        """Hand the help over to whoever shows it."""
        del file
        raise Help(self.format_help())


def parser(prog: str, commands: Sequence[tuple[str, str, Adder]]) -> LineParser:
    """Make the parser of a command with sub-commands.

    Parameters
    ----------
    prog
        What the user types first.
    commands
        The name of each sub-command, what it does, and what adds its arguments.
    """
    made = LineParser(prog=prog, description="Run and look at flows.", allow_abbrev=False)
    found = made.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=LineParser
    )
    for name, summary, add in commands:
        add(found.add_parser(name, help=summary, description=summary, allow_abbrev=False))
    return made


def add_params(to: argparse.ArgumentParser) -> None:
    """Let a command take values of run-time parameters."""
    to.add_argument(
        "--param",
        "-p",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        type=param_value,
        help="a run-time parameter; what reads as a Python literal is one, the rest is text",
    )


def param_value(text: str) -> tuple[str, Any]:
    """Read ``name=value``; a value that is no Python literal is text.

    Examples
    --------
    >>> param_value("n=3"), param_value("path=eu.csv")
    (('n', 3), ('path', 'eu.csv'))
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not NAME=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return name, value


def add_store(to: argparse.ArgumentParser) -> None:
    """Let a command say where runs are written down."""
    to.add_argument(
        "--store",
        metavar="PLACE",
        help="a folder or URL; NBFLOW_STORE says it if left out, or else it is .nbflow here",
    )


def add_checkpoint(to: argparse.ArgumentParser, otherwise: str = "auto") -> None:
    """Let a command say which results are kept.

    Parameters
    ----------
    to
        What is added to.
    otherwise
        What holds if the line says nothing, in words.
    """
    to.add_argument(
        "--checkpoint",
        choices=list(_CHECKPOINTS),
        help="keep results that took longer to compute than to write, or all, or none; "
        f"{otherwise} if left out",
    )


_CHECKPOINTS: dict[str | None, bool | str] = {"auto": "auto", "on": True, "off": False}


def checkpoint_of(given: argparse.Namespace) -> bool | str | None:
    """Give what a line says of checkpoints as ``run.resume()`` takes it; None for nothing."""
    return _CHECKPOINTS.get(given.checkpoint)


def add_renamed(to: argparse.ArgumentParser) -> None:
    """Let a command say that steps have other names now."""
    to.add_argument(
        "--renamed",
        action="append",
        default=[],
        metavar="OLD=NEW",
        type=renaming,
        help="what a step of --flow is called now, by the name that it had; for each such step",
    )


def renaming(text: str) -> tuple[str, str]:
    """Read ``old=new``.

    Examples
    --------
    >>> renaming("clean=tidy")
    ('clean', 'tidy')
    """
    old, equals, new = text.partition("=")
    if not (equals and old.strip() and new.strip()):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not OLD=NEW")
    return old, new


def renamed_of(
    given: argparse.Namespace, before: Iterable[str], now: Iterable[str] | None
) -> dict[str, str]:
    """Give what a line says of new names as ``run.resume()`` takes it.

    Parameters
    ----------
    given
        What was read of the line.
    before, now
        The steps of the run, and those of the flow that was given; None if none was.

    Raises
    ------
    LineError
        If a name is not that of a step, or is there twice.

    Examples
    --------
    >>> renamed_of(argparse.Namespace(renamed=[("clean", "tidy")]), ["clean"], ["tidy"])
    {'clean': 'tidy'}
    """
    pairs: list[tuple[str, str]] = given.renamed
    if pairs and now is None:
        raise LineError(
            f"--renamed {'='.join(pairs[0])} says what a step is called in the flow as it is now; "
            f"give that by --flow"
        )
    for place, steps, which in ((0, before, "the run"), (1, now or (), "the flow")):
        names, known = [pair[place] for pair in pairs], list(steps)
        for name in names:
            option = "=".join(pairs[names.index(name)])
            if name not in known:
                raise LineError(
                    f"--renamed {option}: {which} has no step {quoted(name)}; expected is OLD=NEW; "
                    f"{did_you_mean(name, known)}"
                )
            if names.count(name) > 1:
                raise LineError(
                    f"--renamed names the step {quoted(name)} of {which} {names.count(name)} "
                    f"times; give each step one name"
                )
    return dict(pairs)


def add_verdict(to: argparse.ArgumentParser) -> None:
    """Let a command say what became of a step that is in doubt."""
    verdict = to.add_mutually_exclusive_group(required=True)
    verdict.add_argument(
        "--completed", metavar="VALUE", help="it was done, and this is its result: an expression"
    )
    verdict.add_argument("--retry", action="store_true", help="it was not done, and is to be")
    verdict.add_argument("--failed", action="store_true", help="it was not done, and has failed")


def add_drawing(to: argparse.ArgumentParser) -> None:
    """Let a command take the options of a drawing."""
    to.add_argument(
        "--direction", choices=["TB", "LR"], default="LR", help="top to bottom, or left to right"
    )
    to.add_argument("--no-collapse", action="store_true", help="draw every member of a fan-out")
    to.add_argument("--focus", metavar="STEP", help="draw only what is near a step")


def drawing_options(given: argparse.Namespace) -> dict[str, Any]:
    """Give the options of a drawing as `Flow.show` takes them."""
    options: dict[str, Any] = {"direction": given.direction, "focus": given.focus}
    if given.no_collapse:
        options["collapse"] = False
    return options
