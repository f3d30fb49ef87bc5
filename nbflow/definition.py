"""A user's function and its options: what a step is, before it is placed anywhere."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from nbflow.errors import FlowError, UnsupportedError, did_you_mean, quoted
from nbflow.fingerprint import same_function, same_value
from nbflow.outline import outline, valid
from nbflow.retry import Retry, finite_number, whole_number
from nbflow.signature import Arity

_LAMBDA = "<lambda>"


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
    # Parts of the interface that later versions fill; any other value is refused.
    compensate: Any = None
    effect: Any = False
    cache: Any = False
    checkpoint: Any = "auto"

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
        )

    def same_as(self, other: Options) -> bool:
        """Tell whether other options mean the same, though their functions were made anew."""
        return self == other or all(
            same_value(getattr(self, each.name), getattr(other, each.name))
            for each in fields(Options)
        )


_LATER = frozenset({"compensate", "effect", "cache", "checkpoint"})
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
        if not callable(each) or _is_generator(each):
            what = "a function of what flows into the step that gives True or False"
            raise _unfit("when", each, what)
    return tuple(predicates)


def _checked_lock(value: Any) -> str | None:
    if value is not None and not _is_name(value):
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
}


@dataclass(frozen=True, eq=False)
class Definition:
    """A function, the name that its calls have in a graph, and its options.

    Attributes
    ----------
    fn
        The user's callable.
    name
        What its placed calls are named and numbered by.
    options
        How it is to be run.
    arity
        The arguments it takes.

    Examples
    --------
    >>> Definition.of(len).name
    'len'
    """

    fn: Callable[..., Any]
    name: str
    options: Options = field(default_factory=Options)
    arity: Arity = field(default_factory=Arity)

    @classmethod
    def of(cls, fn: Any, name: str | None = None) -> Definition:
        """Describe a callable.

        Raises
        ------
        FlowError
            If it is not callable, is a generator function, or the name is blank.
        """
        check_callable(fn)
        chosen = natural_name(fn) if name is None else name
        return cls(fn, checked_name(chosen), Options(), Arity.of(fn))

    @property
    def anonymous(self) -> bool:
        """Whether the function has no name of its own, so that others may share it."""
        return self.name == "lambda"

    @property
    def place(self) -> str:
        """Where the function is defined, in words."""
        fn: Any = self.fn
        while isinstance(fn, functools.partial):
            fn = fn.func
        code = getattr(inspect.unwrap(fn), "__code__", None)
        if code is None:
            module = getattr(fn, "__module__", None)
            return f"in {module}" if module else f"as {type(fn).__name__}"
        return f"in {code.co_filename} line {code.co_firstlineno}"

    def same_as(self, other: Definition) -> bool:
        """Tell whether another definition does the same under the same name."""
        return self is other or (
            self.name == other.name
            and self.options.same_as(other.options)
            and same_function(self.fn, other.fn)
        )


def check_callable(fn: Any) -> None:
    """Refuse what cannot be a step, with the reason."""
    if not callable(fn):
        raise FlowError(
            f"{quoted(fn)} is a {type(fn).__name__}, not a function; a step is made of something "
            f"that can be called"
        )
    if _is_generator(fn):
        raise FlowError(
            f"{quoted(natural_name(fn))} is a generator function; a step gives one value, so "
            f"collect what it yields and return the list"
        )


def _is_generator(fn: Any) -> bool:
    # Not what a decorator wraps: it may well collect what the generator yields.
    while isinstance(fn, functools.partial):
        fn = fn.func
    return inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn)


def natural_name(fn: Any) -> str:
    """Name a callable as a person would."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    # A step, as a predicate may be one, has a name of its own.
    definition = getattr(fn, "definition", None)
    if isinstance(definition, Definition):
        return definition.name
    name = getattr(fn, "__name__", None)
    if not isinstance(name, str):
        name = type(fn).__name__
    return "lambda" if name == _LAMBDA else name


def checked_name(name: Any) -> str:
    """Give a name back if a node can bear it.

    Raises
    ------
    FlowError
        If it is no string, is blank, or cannot be written down.
    """
    if not isinstance(name, str):
        shown = outline(name, 60)
        raise FlowError(f"the name {shown} is a {type(name).__name__}; a name is a string")
    if not _is_name(name):
        raise FlowError(
            f"the name {quoted(name)} cannot be read: it is blank, or holds a NUL or half a "
            f"character (a lone surrogate); give it another"
        )
    return name


def _is_name(value: Any) -> bool:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        return False
    return value.isascii() or valid(value) == value
