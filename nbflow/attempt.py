"""One attempt of a step on a worker: what it gave, or why it gave nothing."""

from __future__ import annotations

import pickle
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from nbflow.absence import Absent
from nbflow.calling import called, checked, invoke
from nbflow.capture import Pad, fresh_pad
from nbflow.claim import holding
from nbflow.context import Stop, enter, leave, place
from nbflow.definition import Options
from nbflow.errors import RunError, TransferError, quoted
from nbflow.events import ErrorRecord, InnerLetter
from nbflow.failure import recorded
from nbflow.inputs import ValueOf, arguments, barred, following, unwanted
from nbflow.isolation import ChildFailure, Ward, in_child
from nbflow.order import Order, Work
from nbflow.preview import Preview, preview
from nbflow.process import Died
from nbflow.retry import next_wait
from nbflow.transfer import can_travel, dumps

Function: TypeAlias = tuple[Callable[..., Any], Options | None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    Attributes
    ----------
    value
        The result; or an `Absent`, if the step was not to run.
    seconds
        How long it took.
    look
        A preview of the result.
    error
        What it raised.
    wait
        In how many seconds it is tried again; None for not at all.
    inside
        What a map inside of an element has put aside.
    """

    value: Any
    seconds: float
    look: Preview | None = None
    error: ErrorRecord | None = None
    wait: float | None = None
    inside: tuple[InnerLetter, ...] = ()


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
    """

    def __init__(self, order: Order, pad: Pad, stop: Stop, trial: Trial | None = None) -> None:
        self.order = order
        self.pad = pad
        self.stop = stop
        self.trial = trial
        self._functions: dict[int, Function] = {}

    def make(
        self, work: Work, name: str, element: int | str | None, number: int, value_of: ValueOf
    ) -> Outcome:
        """Make one attempt.

        Parameters
        ----------
        work
            The step.
        name, element
            What the step or element is called, and which element it is.
        number
            Which attempt this is, from 1.
        value_of
            Gives the values of leaves.
        """
        options: Options | None = None
        entered = enter(self.order.run_id, work.name, element, number, self.stop)
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
            else:
                value = self._under(options or _PLAIN, fn, work, name, given)
                if type(value) is Absent:
                    return Outcome(value, 0.0)
            seconds = time.perf_counter() - begun
            value = checked(name, value)
            if work.decision is not None:
                value = work.decision.checked(value)
            _check_travels(name, value)
            return Outcome(value, seconds, preview(value))
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a step must not end the worker
            return self._failed(error, time.perf_counter() - begun, options, number)
        finally:
            leave(entered)

    def _under(
        self,
        options: Options,
        fn: Callable[..., Any],
        work: Work,
        name: str,
        given: tuple[list[Any], dict[str, Any]],
    ) -> Any:
        """Call a function as its options want it."""
        refused = unwanted(options.when, work.own, given) if options.when else None
        if refused is not None:
            return Absent(name, refused)
        with ExitStack() as stack:
            if options.lock is not None:
                stack.enter_context(holding(options.lock, self.stop))
            if options.isolation is not None:
                return self._in_child(in_child, options, fn, name, given)
            if self.trial is not None and work.name not in self.trial.cleared:
                self.pad.write(_TRIED)
                try:
                    return self._in_child(self.trial.ward.call, options, fn, name, given)
                except Died as death:
                    raise RunError(
                        f"every worker that ran step {quoted(name)} died; tried apart, {death}"
                    ) from None
            if options.timeout is None:
                return invoke(fn, *given)
            from nbflow.deadline import within

            call = partial(invoke, fn, *given)
            return within(options.timeout, name, call, abandoned=self._abandon)

    def _in_child(
        self,
        call: Callable[..., Any],
        options: Options,
        fn: Callable[..., Any],
        name: str,
        given: tuple[list[Any], dict[str, Any]],
    ) -> Any:
        here = place()
        judge = partial(_judged, options, 1 if here is None else here[3])
        return call(
            dumps(fn),
            *given,
            name=name,
            seconds=options.timeout,
            write=self.pad.write,
            judge=dumps(judge),
        )

    def _abandon(self) -> None:
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
