"""What a step is: its function, with signature, docstring and source."""

from __future__ import annotations

import inspect
import textwrap
from typing import TYPE_CHECKING, Any

from nbflow.notebook.html import Markup, element, joined
from nbflow.notebook.secrecy import code, constants, said
from nbflow.notebook.sheets import LINE, MUTED, muted
from nbflow.notebook.wording import paragraph, printable

if TYPE_CHECKING:
    from nbflow.algebra.expression import Node

_SOURCE, _DOC, _SIGNATURE, _SUMMARY = 6_000, 2_000, 200, 300


def about(node: Node) -> Markup:
    """Show what a step does, and with which constants. It never fails.

    Examples
    --------
    >>> from nbflow import step
    >>> def clean(n, password):
    ...     "Drop what is empty."
    >>> flow = 4 >> step(clean).s(password="hush")
    >>> shown = about(flow.topology.nodes[0])
    >>> "Drop what is empty." in shown, "hush" in shown
    (True, False)
    """
    function = node.call.definition.fn
    function = inspect.unwrap(getattr(function, "func", function))
    parts = [element("div", element("code", _signature(node, function)))]
    doc = _quietly(inspect.getdoc, function)
    if doc and not inspect.isbuiltin(function):
        parts.append(element("div", paragraph(doc, _DOC), style="white-space: pre-wrap"))
    given = _given(node)
    if given:
        parts.append(element("div", muted("with "), given))
    source = _quietly(inspect.getsource, function)
    if source:
        parts.append(
            element(
                "pre", paragraph(code(textwrap.dedent(source).rstrip(), node), _SOURCE), style=LINE
            )
        )
    else:
        parts.append(element("div", "its source is not known", style=MUTED))
    return joined(parts)


def summary(node: Node) -> tuple[str, str]:
    """Say what a step does, as the first line of its docstring says, and with which arguments.

    Examples
    --------
    >>> from nbflow import step
    >>> def clean(n, path, password):
    ...     "Drop what is empty."
    >>> flow = 4 >> step(clean).s(path="eu.csv", password="hush")
    >>> summary(flow.topology.nodes[0])
    ('Drop what is empty.', "with n=4, path='eu.csv', password=•••")
    """
    function = node.call.definition.fn
    function = inspect.unwrap(getattr(function, "func", function))
    doc = "" if inspect.isbuiltin(function) else _quietly(inspect.getdoc, function) or ""
    first = doc.strip().partition("\n")[0]
    given = _given(node)
    return printable(first, _SUMMARY), printable(f"with {given}", _SUMMARY) if given else ""


def _signature(node: Node, function: Any) -> str:
    name = printable(node.call.definition.name, _SIGNATURE)
    found = _quietly(inspect.signature, function)
    if found is None:
        return name
    shown = [
        each.replace(default=_Said(each.name, each.default)) if _has_default(each) else each
        for each in found.parameters.values()
    ]
    signed = _quietly(str, found.replace(parameters=shown)) or "(…)"
    return f"{name}{printable(signed, _SIGNATURE)}"


class _Said:
    """A default as it may be shown."""

    def __init__(self, name: str, value: Any) -> None:
        self._text = said(name, value, _SIGNATURE)

    def __repr__(self) -> str:
        return self._text


def _has_default(parameter: inspect.Parameter) -> bool:
    return parameter.default is not parameter.empty and parameter.default is not None


def _given(node: Node) -> str:
    parts = []
    for name, value in constants(node):
        named = f"{printable(name, _SIGNATURE)}=" if name else ""
        parts.append(f"{named}{said(name, value, _SIGNATURE)}")
    return ", ".join(parts)


def _quietly(ask: Any, function: Any) -> Any:
    try:
        return ask(function)
    except Exception:  # noqa: BLE001 - a function may be anything
        return None
