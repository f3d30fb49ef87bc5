"""What may be said about how a flow is drawn."""

from __future__ import annotations

from typing import Any

from nbflow.errors import FlowError

OPTIONS = ("direction", "collapse", "focus", "hops")


def checked(direction: Any, collapse: Any, focus: Any, hops: Any) -> None:
    """Refuse drawing options that cannot mean anything.

    Raises
    ------
    FlowError
        Naming the option and what it may be.
    """
    if direction not in ("LR", "TB"):
        raise FlowError(
            f"the drawing option 'direction' is {direction!r}; it must be 'LR' (from left to "
            f"right) or 'TB' (from top to bottom)"
        )
    if not isinstance(collapse, bool):
        raise FlowError(f"the drawing option 'collapse' is {collapse!r}; it must be True or False")
    if isinstance(hops, bool) or not isinstance(hops, int) or hops < 0:
        raise FlowError(
            f"the drawing option 'hops' is {hops!r}; it must be a whole number of at least 0"
        )
    names = [focus] if isinstance(focus, str) else focus
    listed = isinstance(names, (list, tuple)) and names and all(isinstance(n, str) for n in names)
    if focus is not None and not listed:
        raise FlowError(
            f"the drawing option 'focus' is {focus!r}; it must be the name of a step, or a list "
            f"of names"
        )
