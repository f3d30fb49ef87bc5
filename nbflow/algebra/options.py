"""How a step is to be run: its options, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from nbflow.algebra.callables import is_generator, is_name
from nbflow.algebra.fingerprint import same_value
from nbflow.algebra.retry import Retry, finite_number, whole_number
from nbflow.errors import FlowError, UnsupportedError, did_you_mean, quoted
from nbflow.values.outline import outline


@dataclass(frozen=True, slots=True)
class Options:
    """How a step is to be run.

    Attributes
    ----------
    retry
        After which failures it is tried again, and how often.
    timeout
        How many seconds an attempt may take.
    when
        Predicates on what flows into it: it is skipped unless all of them hold.
    lock
        A name: of all steps with this lock on the cluster, one runs at a time.
    isolation
        ``"process"`` to run each attempt in a process of its own.
    fuse
        Whether the step may share a Dask task with its neighbours.
    resources
        The Dask worker resources that the step needs, such as ``{"GPU": 1}``.
    priority
        Steps of higher priority start first where workers are scarce.
    tags
        Words for the user's own use.
    effect
        Whether the step does something in the world that must not be done twice unknown
        to its user.
    compensate
        Undoes the step, given its result, if the run fails later; such a step has an
        effect.
    on_doubt
        What to do about an attempt of which nobody knows whether it ended: ``"ask"``, or
        ``"retry"``.
    verify
        Called with the step's arguments where there is doubt: gives the result if the
        step has been done, and None if it has not.
    checkpoint
        Whether the result is kept in the store; ``"auto"`` keeps what took longer to
        compute than it takes to write.
    delay
        How many seconds it waits before its first attempt.
    """

    retry: Retry | None = None
    timeout: float | None = None
    when: tuple[Callable[..., Any], ...] = ()
    lock: str | None = None
    isolation: str | None = None
    fuse: bool = True
    resources: Mapping[str, float] | None = None
    priority: int = 0
    tags: tuple[str, ...] = ()
    effect: bool = False
    compensate: Callable[..., Any] | None = None
    on_doubt: str = "ask"
    verify: Callable[..., Any] | None = None
    checkpoint: bool | str = "auto"
    delay: float | None = None
    # A part of the interface that a later version fills; any other value is refused.
    cache: Any = False

    def replaced(self, changes: Mapping[str, Any]) -> Options:
        """Copy with other values, checked.

        Raises
        ------
        FlowError
            If there is no option of a name, or a value cannot be right.
        UnsupportedError
            If an option does not work yet.
        """
        known = {each.name for each in fields(Options)}
        for name in changes:
            if name not in known:
                raise FlowError(
                    f"there is no step option {quoted(name)}; {did_you_mean(name, sorted(known))}"
                )
        for name, value in changes.items():
            if name in _LATER and not _is_default(name, value):
                raise UnsupportedError(
                    f"the step option {quoted(name)} does not work in this version of nbflow; "
                    f"leave it out"
                )
        kept = {name: _CHECKS[name](value) for name, value in changes.items() if name in _CHECKS}
        return replace(self, **kept)

    @property
    def isolated(self) -> bool:
        """Whether the step needs a Dask task of its own."""
        return not self.fuse or self.resources is not None or self.isolation is not None

    @property
    def plain(self) -> bool:
        """Whether an attempt is nothing but a call."""
        return (
            self.retry is None
            and self.timeout is None
            and not self.when
            and self.lock is None
            and self.isolation is None
            and self.checkpoint == "auto"
            and self.delay is None
            and not self.has_effect
        )

    @property
    def has_effect(self) -> bool:
        """Whether the step must not be repeated unknown to its user."""
        return self.effect or self.compensate is not None

    def same_as(self, other: Options) -> bool:
        """Tell whether other options mean the same, though their functions were made anew."""
        return self == other or all(
            same_value(getattr(self, each.name), getattr(other, each.name))
            for each in fields(Options)
        )


_LATER = frozenset({"cache"})
_DEFAULTS = {each.name: each.default for each in fields(Options)}


def _is_default(name: str, value: Any) -> bool:
    # By identity first: a frame compares to a frame, and 0 seconds equal False.
    default = _DEFAULTS[name]
    plain = type(value) is type(default) and isinstance(value, (int, str))
    return value is None or value is False or (plain and value == default)


def _checked_timeout(value: Any) -> float | None:
    if value is None:
        return None
    seconds = finite_number(value)
    if seconds is None or seconds <= 0:
        raise _unfit("timeout", value, "a positive and finite number of seconds, or None")
    return seconds


def _checked_when(value: Any) -> tuple[Callable[..., Any], ...]:
    predicates = value if isinstance(value, tuple) else () if value is None else (value,)
    for each in predicates:
        if not callable(each) or is_generator(each):
            what = "a function of what flows into the step that gives True or False"
            raise _unfit("when", each, what)
    return tuple(predicates)


def _checked_lock(value: Any) -> str | None:
    if value is not None and not is_name(value):
        what = "a name, which all steps share that must not run at once, such as 'warehouse'"
        raise _unfit("lock", value, what)
    return value  # type: ignore[no-any-return]


def _checked_isolation(value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and value == "process"):
        raise _unfit("isolation", value, "'process' or None")
    return value


def _checked_fuse(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _unfit("fuse", value, "True or False")
    return value


def _checked_resources(value: Any) -> Mapping[str, float] | None:
    if value is None:
        return None
    expected = "a dict of names and positive numbers, such as {'GPU': 1}"
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _unfit("resources", value, expected)
    amounts = {key: finite_number(each) for key, each in value.items()}
    if not all(each is not None and each > 0 for each in amounts.values()):
        raise _unfit("resources", value, expected)
    return dict(value) or None


def _checked_priority(value: Any) -> int:
    number = whole_number(value)
    if number is None:
        raise _unfit("priority", value, "an integer")
    return number


def _checked_tags(value: Any) -> tuple[str, ...]:
    tags: Any = (value,) if isinstance(value, str) else () if value is None else value
    if not isinstance(tags, (list, tuple)) or not all(isinstance(tag, str) for tag in tags):
        raise _unfit("tags", value, "strings")
    return tuple(tags)


def _checked_effect(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _unfit("effect", value, "True or False")
    return value


def _checked_compensate(value: Any) -> Callable[..., Any] | None:
    if value is not None and (not callable(value) or is_generator(value)):
        raise _unfit("compensate", value, "a function, or a step, that takes the step's result")
    return value  # type: ignore[no-any-return]


def _checked_on_doubt(value: Any) -> str:
    if not isinstance(value, str) or value not in ("ask", "retry"):
        raise _unfit("on_doubt", value, "'ask' or 'retry'")
    return value


def _checked_verify(value: Any) -> Callable[..., Any] | None:
    if value is not None and (not callable(value) or is_generator(value)):
        expected = "a function of the step's arguments that gives the result, or None if not done"
        raise _unfit("verify", value, expected)
    return value  # type: ignore[no-any-return]


def checked_checkpoint(value: Any) -> bool | str:
    """Give a checkpoint policy back, if it is one.

    Raises
    ------
    FlowError
        If it is none of ``"auto"``, True and False.
    """
    if not isinstance(value, bool) and not (isinstance(value, str) and value == "auto"):
        raise _unfit("checkpoint", value, "'auto', True or False")
    return value


def _checked_delay(value: Any) -> float | None:
    if value is None:
        return None
    seconds = finite_number(value)
    if seconds is None or seconds < 0:
        raise _unfit("delay", value, "a finite number of seconds, or None")
    return seconds or None


def _unfit(name: str, value: Any, expected: str) -> FlowError:
    return FlowError(f"the step option {name!r} is {outline(value, 60)}; it must be {expected}")


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "retry": Retry.of,
    "timeout": _checked_timeout,
    "when": _checked_when,
    "lock": _checked_lock,
    "isolation": _checked_isolation,
    "fuse": _checked_fuse,
    "resources": _checked_resources,
    "priority": _checked_priority,
    "tags": _checked_tags,
    "effect": _checked_effect,
    "compensate": _checked_compensate,
    "on_doubt": _checked_on_doubt,
    "verify": _checked_verify,
    "checkpoint": checked_checkpoint,
    "delay": _checked_delay,
}
