"""Feels whether a cluster still answers: Dask itself never says that a scheduler hangs."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from distributed import Client

BEAT_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 3.0
SUSPECT_SECONDS: Final = 8.0
LOST_SECONDS: Final = 30.0
_NO_WORKERS_SECONDS: Final = 6.0


class Pulse:
    """Asks the scheduler of a client now and then for a sign of life, in a thread of its own.

    Parameters
    ----------
    client
        The client.
    goes_on
        Tells whether anybody still wants to know.
    lost
        Called once, with what happened, if there was no sign for `LOST_SECONDS`.
    """

    def __init__(
        self, client: Client, goes_on: Callable[[], bool], lost: Callable[[str], None]
    ) -> None:
        self.client = client
        self._goes_on = goes_on
        self._lost = lost
        self._said = ""
        self._last = time.monotonic()
        self._last_worker = self._last

    def start(self) -> None:
        """Begin to ask."""
        threading.Thread(target=self._feel, name="nbflow-pulse", daemon=True).start()

    def _feel(self) -> None:
        since = time.strftime("%H:%M:%S")
        while self._goes_on():
            time.sleep(BEAT_SECONDS)
            workers = self._asked()
            now = time.monotonic()
            if workers is None:
                silent = now - self._last
                if silent >= LOST_SECONDS:
                    self._lost(f"its scheduler does not answer since {since}")
                    return
                if silent >= SUSPECT_SECONDS:
                    self._say(f"the scheduler does not answer since {since}; the run waits for it")
                continue
            self._last, since = now, time.strftime("%H:%M:%S")
            if workers:
                self._last_worker = now
                self._say("")
            elif now - self._last_worker >= _NO_WORKERS_SECONDS:
                self._say("the cluster has no workers left; the run waits for one")

    def _asked(self) -> int | None:
        """Count the workers; None if there is no answer."""
        if self.client.status != "running":
            # The client has noticed itself, and says so where it is waited for.
            return None
        try:
            scheduler: Any = self.client.scheduler
            about = self.client.sync(scheduler.identity, callback_timeout=ANSWER_SECONDS)
        except Exception:  # noqa: BLE001 - no answer is no answer
            return None
        return len(about["workers"])

    def _say(self, text: str) -> None:
        """Say what has changed, once."""
        if text == self._said:
            return
        if self._goes_on():
            sys.stderr.write(f"nbflow: {text or 'the cluster answers again'}\n")
        self._said = text
