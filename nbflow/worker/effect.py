"""Steps that do something in the world: each attempt is begun once, whoever is asked to.

An attempt is claimed before the user's function is called, and leaves a receipt after
it. A second copy of the task finds them: it waits for the first one, takes its result
over, or says that there is doubt. The scheme is that of an idempotency record, as in
Gray and Reuter's "queued transactions", with the claim as intent and the receipt as
outcome.
"""

from __future__ import annotations

import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from nbflow.algebra.absence import Absent
from nbflow.algebra.calling import invoke
from nbflow.algebra.options import Options
from nbflow.errors import RunCancelledError, StoreError, quoted
from nbflow.record.events import Event, Status
from nbflow.record.minutes import opened, packed
from nbflow.store.evidence import Claim, Evidence, beating
from nbflow.store.kept import Kept
from nbflow.store.owner import Owner
from nbflow.store.reading import value_kept
from nbflow.worker.outcome import Outcome
from nbflow.worker.slot import waiting

_LOOK_SECONDS = 0.1
_LOST = "it was done, but its result is missing or damaged, or was not kept"
# The starts of tasks that are at work in this process.
_at_work: set[str] = set()


@dataclass(frozen=True, slots=True)
class Verified:
    """What an attempt gave of which only its user's own check knows.

    Attributes
    ----------
    value, attempt
        The result, and of which attempt; None if nothing is left of any.
    """

    value: Any
    attempt: int | None


class TakenError(Exception):
    """Another copy has claimed the attempt a moment ago. Never reaches the user."""


class Effects:
    """The effects of one start of a task.

    Parameters
    ----------
    evidence
        Where claims and receipts are.
    epoch
        Which time the run is driven; what failed in an earlier one is tried again.
    worker
        The address of the worker.
    """

    def __init__(self, evidence: Evidence, epoch: int, worker: str) -> None:
        self.evidence = evidence
        self.epoch = epoch
        self.worker = worker
        self.token = uuid.uuid4().hex
        self._stack = ExitStack()
        # The last attempt of each effect that was taken over from another copy.
        self._taken_over: dict[str, int] = {}
        self._asked: set[str] = set()
        _at_work.add(self.token)

    def __enter__(self) -> Effects:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        _at_work.discard(self.token)
        self._stack.close()

    def found(
        self,
        key: str,
        name: str,
        options: Options,
        given: tuple[list[Any], dict[str, Any]],
        *,
        done: bool = False,
    ) -> Outcome | Verified | None:
        """Say what has become of an effect; None if it may be attempted now.

        Parameters
        ----------
        key
            The idempotency key of the step or element.
        name, options
            What it is called, and what its options are.
        given
            The arguments of the call.
        done
            Whether it is known to have been done, though its result is lost.

        Raises
        ------
        StoreError
            If the store cannot be read.
        """
        while True:
            claims = self.evidence.claims(key)
            if not claims and done and key not in self._asked:
                self._asked.add(key)
                return self._in_doubt(name, _LOST, None, options, given)
            if not claims or claims[-1].attempt <= self._taken_over.get(key, 0):
                return None
            last = claims[-1]
            receipt = self.evidence.receipt(key, last.attempt)
            if receipt is None and self._is_at_work(last):
                self.pause()
                continue
            # It may have come between the two looks.
            receipt = receipt or self.evidence.receipt(key, last.attempt)
            self._taken_over[key] = last.attempt
            if receipt is None:
                return self._in_doubt(name, _begun(last), last.attempt, options, given)
            return self._by_receipt(receipt, last, name, options, given)

    def _is_at_work(self, claim: Claim) -> bool:
        if claim.owner == Owner.here():
            return claim.token in _at_work and claim.token != self.token
        return self.evidence.is_alive(claim)

    def pause(self) -> None:
        """Let another copy, which was first, go on for a moment.

        Also where the run was cancelled: what is done there is to be known, and undone.
        """
        with waiting():
            time.sleep(_LOOK_SECONDS)

    def _by_receipt(
        self,
        receipt: bytes,
        claim: Claim,
        name: str,
        options: Options,
        given: tuple[list[Any], dict[str, Any]],
    ) -> Outcome | Verified | None:
        epoch, event = read_receipt(receipt)
        if event.status in (Status.COMPLETED, Status.COMPENSATED):
            if event.kept is None and event.undo:
                return Outcome(None, event.seconds or 0.0)
            try:
                value = self._value(event.kept)
            except StoreError as error:
                said = f"it was done, but its result is lost: {error}"
                return self._in_doubt(name, said, claim.attempt, options, given)
            return Outcome(value, event.seconds or 0.0, event.preview, kept=event.kept)
        if event.status is not Status.FAILED or epoch != self.epoch or claim.token == self.token:
            return None
        wait = None if event.retry_at is None else max(0.0, event.retry_at - time.time())
        return Outcome(None, event.seconds or 0.0, error=event.error, wait=wait)

    def _value(self, kept: Kept | None) -> Any:
        if kept is None:
            raise StoreError("it could not be kept")
        return value_kept(self.evidence.store, kept)

    def _in_doubt(
        self,
        name: str,
        why: str,
        attempt: int | None,
        options: Options,
        given: tuple[list[Any], dict[str, Any]],
    ) -> Outcome | Verified | None:
        """Say what is known of an attempt that has left no result."""
        if options.verify is not None:
            try:
                value = invoke(options.verify, *given)
            except Exception as error:  # noqa: BLE001 - then nobody knows
                said = f"{why}; verify raised {type(error).__name__}: {error}"
                return doubtful(name, said)
            return None if value is None else Verified(value, attempt)
        if options.on_doubt == "retry":
            return None
        return doubtful(name, why)

    def left_behind(
        self,
        name: str,
        why: str,
        attempt: int,
        options: Options,
        given: tuple[list[Any], dict[str, Any]],
    ) -> Outcome | Verified | None:
        """Say what counts for an attempt whose time is over and which could not be stopped.

        None if it counts as failed, as its user has said that it may be repeated.
        """
        if options.on_doubt == "retry":
            return None
        found = self._in_doubt(name, why, attempt, options, given)
        return found or doubtful(name, f"{why}; verify does not find it done so far")

    def claim(self, key: str, name: str) -> int:
        """Claim the next attempt of an effect; it may begin when this returns.

        Parameters
        ----------
        key, name
            The idempotency key of the step or element, and what it is called.

        Raises
        ------
        TakenError
            If another copy was first.
        RunCancelledError
            If the run has ended meanwhile, driven by somebody else.
        StoreError
            If the store cannot be written.
        """
        claims = self.evidence.claims(key)
        attempt = claims[-1].attempt + 1 if claims else 1
        seen = self._taken_over.get(key, 0)
        if seen >= attempt:
            # Claims that were there are cleared when the run is over.
            raise RunCancelledError(f"the run of step {quoted(name)} has ended elsewhere")
        if seen < attempt - 1:
            raise TakenError
        claim = Claim(attempt, Owner.here(), self.worker, time.time(), self.token)
        if not self.evidence.claim(key, claim):
            raise TakenError
        self._taken_over[key] = attempt
        if self.evidence.has_ended(self.epoch):
            # This copy was held up until its run was over, and its claims were gone.
            void = Event(name, Status.PENDING, time.time())
            self.evidence.give_receipt(key, attempt, receipt_of(self.epoch, void))
            raise RunCancelledError(f"the run of step {quoted(name)} has ended elsewhere")
        self._stack.enter_context(beating(self.evidence, self.token))
        return attempt

    def leave_receipt(self, key: str, attempt: int, event: Event) -> None:
        """Leave what an attempt gave.

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        self.evidence.give_receipt(key, attempt, receipt_of(self.epoch, event))


def doubtful(name: str, reason: str) -> Outcome:
    """Give the outcome of an effect of which nobody knows how it ended.

    Examples
    --------
    >>> doubtful("charge", "its worker died").doubt
    'its worker died'
    """
    absent = Absent(name, f"{name} is in doubt", failed=True, doubt=True)
    return Outcome(absent, 0.0, doubt=reason)


def _begun(claim: Claim) -> str:
    if not claim.worker:
        return "it was begun, and nothing says whether it ended"
    at = time.strftime("%H:%M:%S", time.localtime(claim.at))
    return (
        f"it was begun at {at} by {claim.owner}, which is gone, and nothing says whether it ended"
    )


def receipt_of(epoch: int, event: Event) -> bytes:
    """Write the receipt of an attempt.

    Examples
    --------
    >>> read_receipt(receipt_of(2, Event("charge", Status.COMPLETED, 1.0)))[0]
    2
    """
    return epoch.to_bytes(8, "big") + packed([event])


def read_receipt(data: bytes) -> tuple[int, Event]:
    """Read the receipt of an attempt: which time the run was driven, and what happened.

    Raises
    ------
    StoreError
        If it is none.
    """
    events = opened(data[8:])
    if len(events) != 1:
        raise StoreError("the receipt of an effect is damaged")
    return int.from_bytes(data[:8], "big"), events[0]
