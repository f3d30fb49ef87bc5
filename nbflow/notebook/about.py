"""What a step is: its function, with signature, docstring and source."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from nbflow.notebook.html import Markup, element, joined
from nbflow.notebook.sheets import LINE, MUTED, muted
from nbflow.notebook.wording import paragraph, printable

if TYPE_CHECKING:
    from nbflow.algebra.expression import Node

_SOURCE, _DOC, _SIGNATURE = 6_000, 2_000, 200
# What a parameter of such a name is given is shown to nobody.
_SECRET = ("password", "passwd", "token", "secret", "key", "credential")


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
        parts.append(element("pre", paragraph(inspect.cleandoc(source), _SOURCE), style=LINE))
    else:
        parts.append(element("div", "its source is not known", style=MUTED))
    return joined(parts)


def is_secret(name: str) -> bool:
    """Tell whether an argument of a name is to be shown to nobody.

    Examples
    --------
    >>> is_secret("api_token"), is_secret("path")
    (True, False)
    """
    return any(each in name.casefold() for each in _SECRET)


def _signature(node: Node, function: Any) -> str:
    name = printable(node.call.definition.name, _SIGNATURE)
    found = _quietly(inspect.signature, function)
    if found is None:
        return name
    shown = [
        each.replace(default=_Hidden()) if _has_secret_default(each) else each
        for each in found.parameters.values()
    ]
    said = _quietly(str, found.replace(parameters=shown)) or "(…)"
    return f"{name}{printable(said, _SIGNATURE)}"


class _Hidden:
    def __repr__(self) -> str:
        return "•••"


def _has_secret_default(parameter: inspect.Parameter) -> bool:
    given = parameter.default is not parameter.empty and parameter.default is not None
    return given and is_secret(parameter.name)


def _given(node: Node) -> str:
    from nbflow.algebra.expression import Const
    from nbflow.values.outline import outline

    parts = []
    for key, each in node.kwargs:
        if type(each) is Const:
            said = "•••" if is_secret(key) else outline(each.value, _SIGNATURE)
            parts.append(f"{printable(key, _SIGNATURE)}={said}")
    return ", ".join(parts)


def _quietly(ask: Any, function: Any) -> Any:
    try:
        return ask(function)
    except Exception:  # noqa: BLE001 - a function may be anything
        return None
