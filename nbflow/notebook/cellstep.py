"""``%%flow step NAME``: a cell of a notebook becomes a step of a flow."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nbflow.algebra.flow import Composable, Flow
from nbflow.algebra.step import step
from nbflow.errors import FlowError, quoted
from nbflow.notebook import line as lines
from nbflow.notebook.cell import Cell, missing
from nbflow.running.run import Run


@dataclass(frozen=True)
class _Made:
    """What a name was given by its cell.

    Attributes
    ----------
    cell
        Which cell: what the notebook calls it, or else its text.
    flow, inputs
        The flow, and what the cell read to make it.
    """

    cell: str
    flow: Flow
    inputs: Mapping[str, Any]


_made: dict[str, _Made] = {}


def step_of_cell(
    shell: Any, first: str, body: str, given: argparse.Namespace, names: Mapping[str, Any]
) -> Flow:
    """Make a step of a cell, and the flow that ends in it; give it its name in the notebook.

    Parameters
    ----------
    shell
        Where the notebook runs.
    first, body
        The first line of the cell, and the rest of it.
    given
        What the first line says: ``name``, ``inputs`` and ``options``.
    names
        The user's names.

    Raises
    ------
    FlowError
        If the cell cannot be a step.
    """
    name = given.name
    if not name.isidentifier():
        raise FlowError(
            f"%%flow step: {quoted(name)} is no name for a step; expected is a name as of a "
            f"variable, such as 'clean'"
        )
    _refuse_magics(shell, body)
    # The first line as a comment: Python reads the lines where the notebook has them.
    cell = Cell(name, f"# {first}\n{body}", f"<cell of {name}>")
    known = dict(names)
    which, before = _identity(shell, body), _made.get(name)
    if before is not None and before.cell == which and known.get(name) is before.flow:
        # Run again, a cell that reads its own name reads what stood there the first time.
        known.pop(name)
        known |= {each: value for each, value in before.inputs.items() if each == name}
    inputs, captured = _sorted(cell, known, _named(given.inputs))
    scope = shell.user_ns
    function = _placed(shell, cell, body, inputs).function(inputs, captured, scope)
    if captured:
        function.__kwdefaults__ = {each: known[each] for each in captured}
    made = step(function, **_options(given.options, names))
    flow = made.s(*[_upstream(known[each]) for each in inputs])
    _made[name] = _Made(which, flow, {each: known[each] for each in (*inputs, *captured)})
    scope[name] = flow
    return flow


def _placed(shell: Any, cell: Cell, body: str, inputs: list[str]) -> Cell:
    """Give the cell its place among those of the notebook, so that tracebacks show it."""
    result = getattr(shell.displayhook, "exec_result", None)
    number = getattr(result, "execution_count", None) or shell.execution_count
    raw = getattr(getattr(result, "info", None), "raw_cell", None)
    if raw is None or not raw.endswith(body):
        raw = cell.source
    return replace(cell, file=shell.compile.cache(cell.shown(inputs), number, raw_code=raw))


def _identity(shell: Any, body: str) -> str:
    """Tell the cell from others: JupyterLab says which it is, whatever stands in it."""
    result = getattr(shell.displayhook, "exec_result", None)
    return getattr(getattr(result, "info", None), "cell_id", None) or body


def _refuse_magics(shell: Any, body: str) -> None:
    try:
        ast.parse(body)
    except SyntaxError:
        transformed = shell.transform_cell(body)
        try:
            ast.parse(transformed)
        except SyntaxError:
            return  # it is no Python either way, and that is said of it
        for number, each in enumerate(body.splitlines(), 2):
            if each.lstrip().startswith(("%", "!", "?")) or each.rstrip().endswith("?"):
                raise FlowError(
                    f"%%flow step: line {number}: {quoted(each.strip())} is for the notebook, and "
                    f"a step runs on a worker, where there is none; put it into a cell of its own"
                ) from None
        raise FlowError(
            "%%flow step: the cell has magics in it, and a step runs on a worker, where there are "
            "none; put them into a cell of their own"
        ) from None


def _named(given: str | None) -> list[str]:
    return [each.strip() for each in (given or "").split(",") if each.strip()]


def _sorted(cell: Cell, known: Mapping[str, Any], chosen: list[str]) -> tuple[list[str], list[str]]:
    """Tell which names of a cell are its inputs, and which values it is to remember."""
    free, own = cell.names, cell.assigned
    missing([each for each in free if each not in own], known)
    for each in chosen:
        if each not in free:
            raise FlowError(
                f"%%flow step: --inputs names {quoted(each)}, which the cell does not read; it "
                f"reads {', '.join(map(quoted, free)) or 'nothing from outside'}"
            )
        missing([each], known)
    inputs, captured = list(chosen), []
    for each in free:
        value = known.get(each)
        if each in inputs or each not in known:
            continue
        if isinstance(value, Run):
            raise FlowError(
                f"%%flow step: {quoted(each)} is a run, which stays in the notebook; use the flow "
                f"that was run, or a result of it such as {each}.result()"
            )
        if isinstance(value, Composable) and not (
            not isinstance(value, Flow) and cell.only_calls(each)
        ):
            inputs.append(each)
        elif each in own:
            captured.append(each)
    return inputs, captured


def _upstream(value: Any) -> Any:
    return value._flow() if isinstance(value, Composable) else value


def _options(given: list[list[str]], names: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for text in (each for group in given for each in group):
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise FlowError(
                f"%%flow step: the option {quoted(text)} is not NAME=VALUE; expected is for "
                f"example --options retry=3 timeout=30"
            )
        found[key] = lines.value_or_text(value, names)
    if "name" in found:
        raise FlowError("%%flow step: a step is called as the line says; leave out name=")
    return found
