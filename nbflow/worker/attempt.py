"""One attempt of a step on a worker: what it gave, or why it gave nothing."""

from __future__ import annotations

import pickle
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from nbflow.algebra.absence import Absent
from nbflow.algebra.calling import called, checked, invoke
from nbflow.algebra.context import Stop, enter, key_of, leave
from nbflow.algebra.inputs import ValueOf, arguments, barred, following, unwanted
from nbflow.algebra.options import Options
from nbflow.algebra.retry import next_wait
from nbflow.errors import RunError, StoreError, TransferError, quoted
from nbflow.planning.order import Order, Work
from nbflow.record.events import Event, Status
from nbflow.record.failure import recorded
from nbflow.record.recollection import Held
from nbflow.store.kept import Kept
from nbflow.values.preview import preview
from nbflow.values.transfer import can_travel, dumps
from nbflow.worker.capture import Pad, fresh_pad
from nbflow.worker.claim import holding
from nbflow.worker.effect import Effects, TakenError, Verified, doubtful
from nbflow.worker.isolation import ChildFailure, Ward, in_child
from nbflow.worker.keeper import Keeper
from nbflow.worker.late import leave_later
from nbflow.worker.outcome import Outcome
from nbflow.worker.process import Died
from nbflow.worker.vault import Vault

Function: TypeAlias = tuple[Callable[..., Any], Options | None]


@dataclass(frozen=True, slots=True)
class Trial:
    """A second chance for steps whose workers died: each is called in another process.

    Attributes
    ----------
    ward
        The process.
    cleared
        The steps that are known to do no harm, and are called here.
    """

    ward: Ward
    cleared: frozenset[str]


_PLAIN = Options()
_TRIED = "nbflow: called in a process of its own, as workers died that had called it\n"


class Attempts:
    """Makes the attempts of one task.

    Attributes
    ----------
    pad
        Takes down what the steps say.
    stop
        Tells whether the run was cancelled.
    trial
        Where steps are called, if workers have died over them.
    vault
        Where results are kept, and what effects have left.
    """

    def __init__(
        self,
        order: Order,
        pad: Pad,
        stop: Stop,
        trial: Trial | None = None,
        vault: Vault | None = None,
    ) -> None:
        self.order = order
        self.pad = pad
        self.stop = stop
        self.trial = trial
        self.vault = vault
        self.keeper = None if vault is None else vault.keeper
        self._functions: dict[int, Function] = {}
        # Whether the last call could not be stopped when its time was over.
        self._abandoned = False

    def recalled(self, position: int, number: int | None) -> Held | Absent | None:
        """Give what a step, or an element, gave before; None if that is not known."""
        known = self.order.memory.get(position)
        if known is None or (number is not None and number < 0):
            return None
        return known.value if number is None else known.element(number)

    def make(
        self,
        work: Work,
        name: str,
        element: int | str | None,
        attempt: int,
        value_of: ValueOf,
        number: int | None = None,
    ) -> Outcome:
        """Make one attempt.

        Parameters
        ----------
        work
            The step.
        name, element
            What the step or element is called, and which element it is.
        attempt
            Which attempt this is, from 1.
        value_of
            Gives the values of leaves.
        number
            Which element of the outermost map; None for a step without, and less than 0
            where it is part of a map inside of an element.
        """
        options: Options | None = None
        made = work.made(attempt)
        entered = enter(self.order.run_id, work.name, element, made, self.stop, work.undo)
        begun = time.perf_counter()
        try:
            if work.guard is not None or work.after:
                absent = barred(name, work.guard, work.after, value_of)
                if absent is not None:
                    return Outcome(absent, 0.0)
            fn, options = self._functions.get(work.function) or self._function(work.function)
            given = arguments(work.args, work.kwargs, value_of)
            if isinstance(given, Absent):
                return Outcome(following(given, name), 0.0)
            if work.split_every is not None:
                fn = called(fn, work.split_every, work.levels)
            if options is None and self.trial is None:
                value = invoke(fn, *given)
            elif options is not None and options.has_effect and self.vault is not None:
                call = partial(self._under, options, fn, work, name, given, attempt)
                return self._once(work, name, element, attempt, options, given, number, call)
            else:
                value = self._under(options or _PLAIN, fn, work, name, given, attempt)
                if type(value) is Absent:
                    return Outcome(value, 0.0)
            return self._ended(work, name, value, begun, number)
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a step must not end the worker
            return self._failed(error, time.perf_counter() - begun, options, attempt)
        finally:
            leave(entered)

    def _ended(
        self,
        work: Work,
        name: str,
        value: Any,
        begun: float,
        number: int | None,
    ) -> Outcome:
        """Check a result, look at it, and keep it if that is to be."""
        seconds = time.perf_counter() - begun
        value = checked(name, value)
        if work.decision is not None:
            value = work.decision.checked(value)
        _check_travels(name, value)
        look = preview(value)
        kept = None
        if self.keeper is not None and self.keeper.policy is not False:
            self.keeper.computed(seconds)
        if self.keeper is not None and number is None:
            kept = self._kept(work, value, look.bytes)
        return Outcome(value, seconds, look, kept=kept)

    def _kept(self, work: Work, value: Any, nbytes: int) -> Kept | None:
        keeper = self.keeper
        assert keeper is not None
        if not keeper.wants(work.checkpoint, value, nbytes, last=work.last):
            return None
        kept = keeper.keep(value, nbytes)
        self.complain(keeper)
        return kept

    def complain(self, keeper: Keeper) -> None:
        """Write down why a result was not kept."""
        if keeper.complaint:
            self.pad.write(keeper.complaint)
            keeper.complaint = ""

    # Effects

    def _once(
        self,
        work: Work,
        name: str,
        element: int | str | None,
        attempt: int,
        options: Options,
        given: tuple[list[Any], dict[str, Any]],
        number: int | None,
        call: Callable[..., Any],
    ) -> Outcome:
        """Make an attempt of an effect, unless that was done before or elsewhere."""
        assert self.vault is not None
        vault, effects = self.vault, self.vault.effects(name)
        key = key_of(self.order.run_id, work.name, element, undo=work.undo)
        done = number in work.done
        found = effects.found(key, name, options, given, done=done)
        while found is None:
            claimed: list[int] = []

            def begin(claimed: list[int] = claimed) -> None:
                # What comes before it is written down before it begins.
                vault.flush()
                claimed.append(effects.claim(key, work.name))

            try:
                outcome = self._tried(work, name, attempt, options, call, begin)
            except TakenError:
                effects.pause()
                found = effects.found(key, name, options, given)
                continue
            if not claimed:
                return outcome
            if self._abandoned and outcome.error is not None and not work.undo:
                why = outcome.error.message
                found = effects.left_behind(name, why, claimed[0], options, given)
                if found is not None:
                    break
            return self._receipted(effects, work, name, key, claimed[0], outcome, (number, element))
        if isinstance(found, Verified):
            outcome = self._ended(work, name, found.value, time.perf_counter(), -1)
            of = effects.claim(key, work.name) if found.attempt is None else found.attempt
            return self._receipted(effects, work, name, key, of, outcome, (number, element))
        return found

    def _tried(
        self,
        work: Work,
        name: str,
        attempt: int,
        options: Options,
        call: Callable[..., Any],
        begin: Callable[[], None],
    ) -> Outcome:
        begun = time.perf_counter()
        self._abandoned = False
        try:
            value = call(begin)
            if type(value) is Absent:
                return Outcome(value, 0.0)
            return self._ended(work, name, value, begun, -1)
        except TakenError:
            raise
        except BaseException as error:  # noqa: BLE001 - what it raised is what is written down
            return self._failed(error, time.perf_counter() - begun, options, attempt)

    def _receipted(
        self,
        effects: Effects,
        work: Work,
        name: str,
        key: str,
        claimed: int,
        outcome: Outcome,
        whose: tuple[int | None, int | str | None],
    ) -> Outcome:
        """Write down how an attempt of an effect ended, before anybody hears of it."""
        at, (number, element) = time.time(), whose
        done = Status.COMPENSATED if work.undo else Status.COMPLETED
        event = Event(
            work.name,
            done if outcome.error is None else Status.FAILED,
            at,
            claimed,
            effects.worker,
            outcome.seconds,
            outcome.look,
            error=outcome.error,
            retry_at=None if outcome.wait is None else at + outcome.wait,
            undo=work.undo,
            element=work.element if work.undo else number,
            # Who finds only the receipt knows the element by its number.
            labels={number: element} if number is not None and type(element) is str else None,
        )
        keeper, complaints = self.keeper, list[str]()

        def leave() -> Kept | None:
            kept = None
            if outcome.error is None and keeper is not None:
                try:
                    kept = keeper.must_keep(outcome.value)
                except StoreError as error:
                    complaints.append(f"nbflow: the result of an effect was not kept: {error}\n")
            effects.leave_receipt(key, claimed, replace(event, kept=kept))
            return kept

        try:
            kept = leave()
        except StoreError as error:
            leave_later(leave)
            if outcome.error is not None:
                said = f"nbflow: the failure of an effect is not written down yet: {error}\n"
                self.pad.write(said)
                return outcome
            return doubtful(name, f"it was done, but that could not be written down: {error}")
        for each in complaints:
            self.pad.write(each)
        return replace(outcome, kept=kept)

    def _under(
        self,
        options: Options,
        fn: Callable[..., Any],
        work: Work,
        name: str,
        given: tuple[list[Any], dict[str, Any]],
        attempt: int,
        begin: Callable[[], None] | None = None,
    ) -> Any:
        """Call a function as its options want it; `begin` just before."""
        refused = unwanted(options.when, work.own, given) if options.when else None
        if refused is not None:
            return Absent(name, refused)
        with ExitStack() as stack:
            if options.lock is not None:
                stack.enter_context(holding(options.lock, self.stop))
            if begin is not None:
                begin()
            if options.isolation is not None:
                return self._in_child(in_child, options, fn, name, given, attempt)
            if self.trial is not None and work.name not in self.trial.cleared:
                self.pad.write(_TRIED)
                try:
                    return self._in_child(self.trial.ward.call, options, fn, name, given, attempt)
                except Died as death:
                    raise RunError(
                        f"every worker that ran step {quoted(name)} died; tried apart, {death}"
                    ) from None
            if options.timeout is None:
                return invoke(fn, *given)
            from nbflow.algebra.deadline import within

            call = partial(invoke, fn, *given)
            return within(options.timeout, name, call, abandoned=self._abandon)

    def _in_child(
        self,
        call: Callable[..., Any],
        options: Options,
        fn: Callable[..., Any],
        name: str,
        given: tuple[list[Any], dict[str, Any]],
        attempt: int,
    ) -> Any:
        judge = partial(_judged, options, attempt)
        return call(
            dumps(fn),
            *given,
            name=name,
            seconds=options.timeout,
            write=self.pad.write,
            judge=dumps(judge),
        )

    def _abandon(self) -> None:
        self._abandoned = True
        # What a call says that nobody waits for any more belongs to no other step.
        log = self.pad.take()
        self.pad = fresh_pad()
        self.pad.write(log)

    def _failed(
        self, error: BaseException, seconds: float, options: Options | None, number: int
    ) -> Outcome:
        if isinstance(error, ChildFailure):
            return Outcome(None, seconds, error=error.record, wait=error.verdict)
        wait = next_wait(None if options is None else options.retry, number, error)
        return Outcome(None, seconds, error=recorded(error), wait=wait)

    def _function(self, number: int) -> Function:
        found = self._functions[number] = function(self.order.functions[number])
        return found


def _judged(options: Options, number: int, error: BaseException) -> float | None:
    return next_wait(options.retry, number, error)


def _check_travels(name: str, value: Any) -> None:
    if not can_travel(value):
        raise TransferError(
            f"step {quoted(name)} returned a {type(value).__name__} that cannot be pickled, so it "
            f"could not reach the next worker or the notebook; return plain data, and open files, "
            f"locks and connections inside the step that uses them"
        )


# Unpickling a function costs more than a small step, and the same bytes come many times.
_functions: OrderedDict[bytes, Function] = OrderedDict()
_FUNCTIONS_KEPT = 256
_BYTES_KEPT = 100_000


def function(packed: bytes) -> Function:
    """Unpack a user's function with its options, or give the one unpacked before."""
    found = _functions.get(packed)
    if found is None:
        found = pickle.loads(packed)
        if len(packed) <= _BYTES_KEPT:
            _functions[packed] = found
        if len(_functions) > _FUNCTIONS_KEPT:
            _functions.popitem(last=False)
    return found
