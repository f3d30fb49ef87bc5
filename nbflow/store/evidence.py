"""What workers leave in the store while a run goes on: claims and receipts.

Dask runs a task again when its worker has died, is retired or was cut off, and says so
to nobody. So what must not be repeated is claimed before it begins, and what has ended
leaves a receipt, which the next copy of the task finds, and so does a later process.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Final

from nbflow.errors import StoreError, quoted
from nbflow.store.owner import Owner
from nbflow.store.store import Store

BEAT_SECONDS: Final = 5.0
# A step that does not let other threads run misses some beats.
BEAT_LOST: Final = 30.0
# Whose claim it is that cannot be read.
UNKNOWN: Final = Owner("", "", 0, 0.0, "")

_CLAIMS: Final = "claims"
_BEATS: Final = "beats"
_ENDS: Final = "ends"
_EFFECTS: Final = "receipts/effects"
_SEGMENTS: Final = "receipts/segments"
_KEY: Final = re.compile("[0-9a-f]{64}")
_NAME: Final = re.compile("[0-9A-Za-z][0-9A-Za-z_-]*")
_ATTEMPT: Final = re.compile("[0-9]{1,9}")
_OF_EFFECT: Final = re.compile("/([0-9a-f]{64})/([0-9]{1,9})")
_OF_SEGMENT: Final = re.compile("/([0-9]+)/([0-9]+)/([0-9A-Za-z_-]+)-([0-9]+)")
_SEAL: Final = 32


@dataclass(frozen=True, slots=True)
class Claim:
    """Who has begun an attempt of an effect.

    Attributes
    ----------
    attempt
        Its number, the first is 1.
    owner
        The process.
    worker
        Its address in Dask.
    at
        When, in seconds since the epoch.
    token
        What is new each time a task starts.
    """

    attempt: int
    owner: Owner
    worker: str
    at: float
    token: str


class Evidence:
    """What the tasks of one run have begun and ended, as their workers have left it.

    It is the same in all processes that see the store. An effect is named by the 64
    hexadecimal digits of its key, and a receipt is bytes of any kind. What is damaged
    counts as not there.

    Parameters
    ----------
    store
        Where it is left.
    run
        The id of the run.

    Raises
    ------
    StoreError
        If the id cannot be the name of a folder. All methods raise it where the store
        cannot be read or written.

    Examples
    --------
    >>> evidence = Evidence(Store("memory://example"), "run-1")
    >>> key = "0" * 64
    >>> evidence.claim(key, Claim(1, Owner.here(), "tcp://127.0.0.1:1", 0.0, "a"))
    True
    >>> evidence.claim(key, Claim(1, Owner.here(), "tcp://127.0.0.1:2", 0.0, "b"))
    False
    >>> evidence.give_receipt(key, 1, b"charged")
    >>> evidence.receipt(key, 1)
    b'charged'
    >>> evidence.remove()
    """

    def __init__(self, store: Store, run: str) -> None:
        self.store = store
        self.run = run
        self._files = store.files
        self._root = f"runs/{_named(run, 'run')}"
        # What was seen of the beat of a token, and when by this process's clock.
        self._seen: dict[str, tuple[bytes | None, float]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Evidence, (self.store, self.run)

    def __repr__(self) -> str:
        return f"<Evidence of {self.run!r} in {self.store.url!r}>"

    def claim(self, key: str, claim: Claim) -> bool:
        """Claim an attempt of an effect before it begins, on the disk when this returns.

        Returns
        -------
        bool
            Whether it is claimed by this start of a task. If not, another was first,
            and the effect must not begin here.
        """
        path = self._of_effect(_CLAIMS, key, claim.attempt)
        _named(claim.token, "start of a task")
        data = json.dumps(asdict(claim), separators=(",", ":")).encode()
        with self.store._telling(f"claim the effect {quoted(key)}", len(data)):
            if self._files.create(path, data):
                return True
            # An earlier try of the same start may have been cut off from the answer.
            return self._claimed(path, claim.attempt).token == claim.token

    def claims(self, key: str) -> list[Claim]:
        """Give the claims of an effect, by attempt."""
        folder = self._of_effect(_CLAIMS, key)
        with self.store._telling(f"read the claims of the effect {quoted(key)}"):
            names = self._files.names(folder)
            attempts = sorted(int(name) for name in names if _ATTEMPT.fullmatch(name))
            return [self._claimed(f"{folder}/{attempt}", attempt) for attempt in attempts]

    def give_receipt(self, key: str, attempt: int, packed: bytes) -> None:
        """Leave what an attempt of an effect gave, on the disk when this returns."""
        path = self._of_effect(_EFFECTS, key, attempt)
        with self.store._telling(f"leave a receipt of the effect {quoted(key)}", len(packed)):
            self._files.put([_seal(path, packed), packed], lambda: path)

    def receipt(self, key: str, attempt: int) -> bytes | None:
        """Give what an attempt of an effect has left; None if it has left nothing."""
        path = self._of_effect(_EFFECTS, key, attempt)
        with self.store._telling(f"read the receipt of the effect {quoted(key)}"):
            return self._receipt(path)

    def beat(self, token: str) -> None:
        """Show that a start of a task is still at work; see `beating`."""
        path = self._of_beat(token)
        data = b"%d" % time.monotonic_ns()
        with self.store._telling("show that a step is at work", len(data)):
            self._files.put([data], lambda: path, durable=False)

    def is_alive(self, claim: Claim) -> bool:
        """Tell whether who holds a claim may still be at work.

        Where its process cannot be seen from here, its beats are watched: it is taken
        for dead when this object has been asked for `BEAT_LOST` seconds, and saw none.
        """
        if claim.owner == UNKNOWN:
            return False
        known = claim.owner.is_alive()
        if known is not None:
            return known
        path = self._of_beat(claim.token)
        with self.store._telling("see whether a step is at work"):
            beat = self._found(path)
        # Not by the time in the beat: the clocks of machines differ.
        now = time.monotonic()
        last, since = self._seen.setdefault(claim.token, (beat, now))
        if beat != last:
            self._seen[claim.token] = beat, now
            return True
        return now - since < BEAT_LOST

    def leave(self, epoch: int, segment: int, token: str, number: int, packed: bytes) -> None:
        """Leave what a segment has got so far: there for all, but not yet on the disk.

        Parameters
        ----------
        epoch, segment
            Which segment, sent by which epoch of the run.
        token, number
            Which start of its task, and which of the receipts of that.
        """
        path = f"{self._of_segment(epoch, segment)}/{_named(token, 'start of a task')}-{number:d}"
        with self.store._telling("leave a receipt", len(packed)):
            self._files.put([_seal(path, packed), packed], lambda: path, durable=False)

    def left(self, epoch: int, segment: int) -> list[bytes]:
        """Give all that copies of a segment's task have left, by token and number."""
        folder = self._of_segment(epoch, segment)
        with self.store._telling("read receipts"):
            names = self._files.names(folder)
            return list(self._receipts(f"{folder}/{name}" for name in names))

    def receipts(self) -> Iterator[bytes]:
        """Give all receipts of the run: of effects, then of segments from the oldest epoch on."""
        with self.store._telling(f"list the receipts of the run {quoted(self.run)}"):
            effects = sorted(self._effects(_EFFECTS))
            segments = [path for path, _ in self._files.walk(f"{self._root}/{_SEGMENTS}")]
        for key, attempt in effects:
            packed = self.receipt(key, attempt)
            if packed is not None:
                yield packed
        with self.store._telling(f"read the receipts of the run {quoted(self.run)}"):
            yield from self._receipts(segments)

    def doubts(self) -> list[tuple[str, Claim]]:
        """Give the key and last claim of each effect that has left no receipt of that attempt."""
        with self.store._telling(f"list the claims of the run {quoted(self.run)}"):
            # The last one stays.
            last = dict(sorted(self._effects(_CLAIMS)))
            return [
                (key, self._claimed(self._of_effect(_CLAIMS, key, attempt), attempt))
                for key, attempt in last.items()
                if self._receipt(self._of_effect(_EFFECTS, key, attempt)) is None
            ]

    def end(self, epoch: int) -> None:
        """Say that the run has ended: nothing that was sent before may begin an effect."""
        with self.store._telling(f"write the end of the run {quoted(self.run)}"):
            self._files.create(f"{self._root}/{_ENDS}/{epoch:d}", b"")

    def has_ended(self, epoch: int) -> bool:
        """Tell whether the run has ended since an epoch of it began."""
        with self.store._telling(f"look for the end of the run {quoted(self.run)}"):
            names = self._files.names(f"{self._root}/{_ENDS}")
        return any(name.isdecimal() and int(name) >= epoch for name in names)

    def forget_segments(self) -> None:
        """Remove what segments have left, when the run has ended and its record has all.

        What effects have left stays: Dask may compute a result again long after the run.
        """
        with self.store._telling(f"clear what the run {quoted(self.run)} has left"):
            for each in (_SEGMENTS, _BEATS):
                self._files.remove_tree(f"{self._root}/{each}")

    def remove(self) -> None:
        """Remove all of it, when none of its tasks can be at work any more."""
        with self.store._telling(f"remove what the run {quoted(self.run)} has left"):
            # First, for a claim alone would be a doubt.
            self._files.remove_tree(f"{self._root}/{_CLAIMS}")
            self._files.remove_tree(self._root)

    def _of_effect(self, kind: str, key: str, attempt: int | None = None) -> str:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise StoreError(
                f"{quoted(key)} names no effect. Expected are the 64 hexadecimal digits of its"
                " idempotency key."
            )
        folder = f"{self._root}/{kind}/{key}"
        return folder if attempt is None else f"{folder}/{attempt:d}"

    def _of_beat(self, token: str) -> str:
        return f"{self._root}/{_BEATS}/{_named(token, 'start of a task')}"

    def _of_segment(self, epoch: int, segment: int) -> str:
        return f"{self._root}/{_SEGMENTS}/{epoch:d}/{segment:d}"

    def _effects(self, kind: str) -> Iterator[tuple[str, int]]:
        """List key and attempt of all that is left of one kind."""
        folder = f"{self._root}/{kind}"
        for path, _ in self._files.walk(folder):
            found = _OF_EFFECT.fullmatch(path.removeprefix(folder))
            if found is not None:
                yield found[1], int(found[2])

    def _receipts(self, paths: Iterable[str]) -> Iterator[bytes]:
        """Read the receipts of segments, in order."""
        start = f"{self._root}/{_SEGMENTS}"
        found = [(_OF_SEGMENT.fullmatch(path.removeprefix(start)), path) for path in paths]
        for _, path in sorted((_place(match), path) for match, path in found if match):
            packed = self._receipt(path)
            if packed is not None:
                yield packed

    def _receipt(self, path: str) -> bytes | None:
        data = self._found(path)
        if data is None:
            return None
        packed = data[_SEAL:]
        return packed if data[:_SEAL] == _seal(path, packed) else None

    def _claimed(self, path: str, attempt: int) -> Claim:
        return _read(self._found(path) or b"", attempt)

    def _found(self, path: str) -> bytes | None:
        try:
            return bytes(self._files.get(path))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None


@contextmanager
def beating(evidence: Evidence, token: str) -> Iterator[None]:
    """Show every few seconds that a start of a task is at work, while the body runs.

    Where the store cannot be written, that is not shown, and nothing is raised.

    Examples
    --------
    >>> with beating(Evidence(Store("memory://example"), "run-1"), "a"):
    ...     pass
    """
    held = _heart.take(evidence, token)
    try:
        yield
    finally:
        _heart.drop(held)


class _Heart:
    """One thread for each process that beats for all that is at work."""

    def __init__(self) -> None:
        self._held: dict[object, tuple[Evidence, str]] = {}
        self._taken = threading.Condition()
        self._thread: threading.Thread | None = None

    def take(self, evidence: Evidence, token: str) -> object:
        held = object()
        with self._taken:
            self._held[held] = evidence, token
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="nbflow-beat", daemon=True)
                self._thread.start()
            self._taken.notify()
        return held

    def drop(self, held: object) -> None:
        with self._taken:
            del self._held[held]

    def _work(self) -> None:
        while True:
            with self._taken:
                self._taken.wait_for(lambda: self._held)
            # First, so that what is short does not beat.
            time.sleep(BEAT_SECONDS)
            with self._taken:
                held = list(self._held.values())
            for evidence, token in held:
                with suppress(StoreError):
                    evidence.beat(token)


_heart = _Heart()


def _anew() -> None:
    """Begin again in a process that was forked, where the thread is not."""
    global _heart  # noqa: PLW0603 - a process has one
    _heart = _Heart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_anew)


def _named(name: str, what: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise StoreError(
            f"{quoted(name)} names no {what}. Expected are letters, digits, '-' and '_', of which"
            " the first is a letter or a digit."
        )
    return name


def _seal(path: str, packed: bytes) -> bytes:
    """Tell of bytes that they are what was left under a path, and are whole."""
    sealed = sha256(f"{path}\n".encode())
    sealed.update(packed)
    return sealed.digest()


def _place(found: re.Match[str]) -> tuple[int, int, str, int]:
    return int(found[1]), int(found[2]), found[3], int(found[4])


def _read(data: bytes, attempt: int) -> Claim:
    """Read a claim; one that cannot be read is that of a process nobody knows."""
    try:
        about = json.loads(data)
        owner = about["owner"]
        claim = Claim(
            int(about["attempt"]),
            Owner(
                str(owner["host"]),
                str(owner["boot"]),
                int(owner["pid"]),
                float(owner["began"]),
                str(owner["nonce"]),
            ),
            str(about["worker"]),
            float(about["at"]),
            _named(about["token"], "start of a task"),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, StoreError):
        return Claim(attempt, UNKNOWN, "", 0.0, "")
    return claim if claim.attempt == attempt and claim.owner.pid > 0 else _read(b"", attempt)
