"""Flows that are found in files: a Python module, or a notebook."""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbflow.algebra.flow import Composable, Flow
from nbflow.errors import FlowError, did_you_mean, quoted
from nbflow.notebook.commands import MAGIC_NAMES


def flow_from(spec: str) -> Flow:
    """Load a flow that is named as ``FILE:flow``.

    A module is imported. Of a notebook, the code cells are run in order, up to the
    last one that gives the flow its value.

    Parameters
    ----------
    spec
        The path of a ``.py`` or ``.ipynb`` file, and after a colon the flow's name.
        The name may be left out where a module has only one flow.

    Raises
    ------
    FlowError
        If there is no such file, or no such flow in it.
    """
    path_text, _, name = spec.rpartition(":")
    if not path_text or not Path(path_text).exists():
        path_text, name = (path_text, name) if path_text.endswith((".py", ".ipynb")) else (spec, "")
    path = Path(path_text)
    if not path.is_file() or path.suffix not in (".py", ".ipynb"):
        raise FlowError(f"there is no module or notebook {quoted(path_text)}; give FILE.py:flow")
    sys.path.insert(0, str(path.parent.resolve()))
    if path.suffix == ".py":
        return _chosen(_names_of_module(path), name, path)
    if not name:
        raise FlowError(f"say which flow of {quoted(path)} is meant: {path}:FLOW")
    return _chosen(_names_of_notebook(path, name), name, path)


def _names_of_module(path: Path) -> Mapping[str, Any]:
    name = path.stem
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    found.loader.exec_module(module)
    return vars(module)


def _names_of_notebook(path: Path, name: str) -> Mapping[str, Any]:
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    cells = json.loads(path.read_text(encoding="utf-8")).get("cells", [])
    sources = ["".join(each["source"]) for each in cells if each.get("cell_type") == "code"]
    binding = [n for n, each in enumerate(sources) if _binds(shell.transform_cell(each), name)]
    for each in sources[: binding[-1] + 1] if binding else sources:
        shell.run_cell(each, silent=True).raise_error()
    names: Mapping[str, Any] = shell.user_ns
    return names


def _binds(cell: str, name: str) -> bool:
    """Tell whether a cell gives a name its value, at its top level."""
    try:
        statements = ast.parse(cell).body
    except SyntaxError:
        return False
    if any(_makes_step(each, name) for each in statements):
        return True
    return any(
        isinstance(each, ast.Name) and each.id == name and isinstance(each.ctx, ast.Store)
        for statement in statements
        if not isinstance(statement, (ast.FunctionDef, ast.ClassDef))
        for each in ast.walk(statement)
    )


def _makes_step(statement: ast.stmt, name: str) -> bool:
    """Tell whether a cell is made a step of that name, by ``%%flow step``."""
    match statement:
        case ast.Expr(
            ast.Call(
                func=ast.Attribute(attr="run_cell_magic"),
                args=[ast.Constant(value=magic), ast.Constant(value=str(line)), *_],
            )
        ):
            return magic in MAGIC_NAMES and line.split()[:2] == ["step", name]
    return False


def _chosen(names: Mapping[str, Any], name: str, path: Path) -> Flow:
    flows = {key: each for key, each in names.items() if isinstance(each, Flow)}
    found = names.get(name) if name else next(iter(flows.values()), None)
    if not isinstance(found, Composable) or (not name and len(flows) > 1):
        wanted = f"no flow {quoted(name)}" if name else f"{len(flows)} flows"
        raise FlowError(f"{quoted(path)} has {wanted}; {did_you_mean(name, sorted(flows))}")
    flow = found._flow()
    return flow if flow.label is not None or not name else flow.named(name)
