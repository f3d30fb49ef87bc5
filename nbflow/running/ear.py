"""What hears the events of runs in the notebook's process, and hands them on."""

from __future__ import annotations

import threading
from typing import ClassVar, Protocol
from weakref import WeakKeyDictionary, WeakValueDictionary

from distributed import Client


class Listener(Protocol):
    """A run that takes in events."""

    def receive(self, packed: bytes) -> None:
        """Take in events as a worker has sent them."""


class Ear:
    """Hears the events of all runs of one client.

    They share one topic, because neither Dask's client nor its scheduler ever forgets
    a topic, and it holds runs weakly, so that one that nobody holds frees its results.

    Attributes
    ----------
    topic
        Where workers send events to.
    runs
        Who listens, by the name under which a run sends.
    """

    _known: ClassVar[WeakKeyDictionary[Client, Ear]] = WeakKeyDictionary()
    _making = threading.Lock()

    def __init__(self, client: Client) -> None:
        self.topic = f"nbflow-{client.id}"
        self.runs: WeakValueDictionary[str, Listener] = WeakValueDictionary()
        client.subscribe_topic(self.topic, self.hear)

    @classmethod
    def all(cls) -> list[Ear]:
        """Give the ears of all clients that still exist."""
        return list(cls._known.values())

    @classmethod
    def of(cls, client: Client) -> Ear:
        """Give the ear of a client, made when it is first asked for."""
        with cls._making:
            ear = cls._known.get(client)
            if ear is None:
                ear = cls._known[client] = cls(client)
            return ear

    def hear(self, message: tuple[float, tuple[str, bytes]]) -> None:
        """Hand events on to the run that they are of."""
        run, packed = message[1]
        listener = self.runs.get(run)
        if listener is not None:
            listener.receive(packed)
