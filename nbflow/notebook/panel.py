"""The widget behind a live panel: what Python and the browser say to each other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import anywidget
import traitlets

# Those that are older stay as they are in the browser, and hear nothing more.
_KEPT: Final = 20
_open: deque[Panel] = deque()


class Panel(anywidget.AnyWidget):
    """Shows one run in the browser, in all places of the page that have its report.

    Parameters
    ----------
    whole
        Gives all that there is to show, for a browser that begins to look.
    asked
        What to do when the browser wants something: a step to be shown, or the run to
        be cancelled.
    """

    _esm = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    whole = traitlets.Dict().tag(sync=True)

    def __init__(
        self, whole: Callable[[], dict[str, Any]], asked: Callable[[str, str], dict[str, Any]]
    ) -> None:
        self._whole = whole
        self._asked = asked
        super().__init__()
        self.on_msg(self._heard)
        self._stay_free()
        _open.append(self)
        while len(_open) > _KEPT:
            _open.popleft().close()

    def get_state(self, *arguments: Any, **options: Any) -> Any:
        """Give what a browser needs to begin with, as it is now."""
        state = super().get_state(*arguments, **options)
        if "whole" in state:
            state["whole"] = self._whole()
        return state

    def tell(self, delta: dict[str, Any]) -> None:
        """Tell the browser what has changed."""
        self.send({"delta": delta})
        self._stay_free()

    def _heard(self, _: Any, message: Any, __: Any) -> None:
        what, name = str(message.get("do")), str(message.get("name", ""))
        self.send({"heard": what, "delta": self._asked(what, name)})

    def _stay_free(self) -> None:
        # Some versions of ipykernel would let an answer wait for the cell that runs.
        with suppress(Exception):
            self.comm._reply_subshell_for = None
