"""What a worker process of our own cluster does first. Imports little, and fast."""

from __future__ import annotations

import contextlib
import logging
import os
import threading


def prepare() -> None:
    """Leave the notebook's process group, and import pandas in the background.

    The stop button of a notebook sends its signal to the whole group; a worker in
    a group of its own does not hear it.
    """
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    logging.getLogger("distributed.worker").addFilter(_is_news)
    threading.Thread(target=_warm, name="nbflow-warm", daemon=True).start()


def _is_news(said: logging.LogRecord) -> bool:
    # The scheduler lives in the notebook: when it is gone, so is whoever would read of it.
    return "during heartbeat" not in said.getMessage()


def _warm() -> None:
    # A worker that cannot import one of them says so when a step needs it.
    with contextlib.suppress(ImportError):
        import pandas  # noqa: F401, ICN001
        import pyarrow  # noqa: F401, ICN001

        import nbflow.worker.worker  # noqa: F401
