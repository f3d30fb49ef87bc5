"""A user's function and its options: what a step is, before it is placed anywhere."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from nbflow.errors import FlowError, UnsupportedError, did_you_mean, quoted
from nbflow.fingerprint import same_function, same_value
from nbflow.outline import valid
from nbflow.retry import Retry
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
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise FlowError(
            f"the step option 'timeout' is {value!r}; it must be a positive number of seconds"
        )
    return float(value)


def _checked_when(value: Any) -> tuple[Callable[..., Any], ...]:
    predicates = value if isinstance(value, tuple) else () if value is None else (value,)
    for each in predicates:
        if not callable(each):
            raise FlowError(
                f"the step option 'when' is {each!r}; it must be a function of what flows into "
                f"the step that gives True or False"
            )
    return tuple(predicates)


def _checked_lock(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise FlowError(f"the step option 'lock' is {value!r}; it must be a name to be read")
    return value


def _checked_isolation(value: Any) -> str | None:
    if value not in (None, "process"):
        raise FlowError(f"the step option 'isolation' is {value!r}; it must be 'process' or None")
    return value  # type: ignore[no-any-return]


def _checked_fuse(value: Any) -> bool:
    if not isinstance(value, bool):
        raise FlowError(f"the step option 'fuse' is {value!r}; it must be True or False")
    return value


def _checked_resources(value: Any) -> Mapping[str, float] | None:
    if value is None or (
        isinstance(value, Mapping)
        and all(isinstance(key, str) for key in value)
        and all(isinstance(each, (int, float)) and each > 0 for each in value.values())
    ):
        return None if not value else dict(value)
    raise FlowError(
        f"the step option 'resources' is {value!r}; "
        f"it must be a dict of names and positive numbers, such as {{'GPU': 1}}"
    )


def _checked_priority(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise FlowError(f"the step option 'priority' is {value!r}; it must be an integer")
    return value


def _checked_tags(value: Any) -> tuple[str, ...]:
    tags: Any = (value,) if isinstance(value, str) else () if value is None else value
    if not isinstance(tags, (list, tuple)) or not all(isinstance(tag, str) for tag in tags):
        raise FlowError(f"the step option 'tags' is {value!r}; it must be strings")
    return tuple(tags)


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
    # Not what a decorator wraps: it may well collect what the generator yields.
    bare = fn
    while isinstance(bare, functools.partial):
        bare = bare.func
    if inspect.isgeneratorfunction(bare) or inspect.isasyncgenfunction(bare):
        raise FlowError(
            f"{quoted(natural_name(fn))} is a generator function; a step gives one value, so "
            f"collect what it yields and return the list"
        )


def natural_name(fn: Any) -> str:
    """Name a callable as a person would."""
    while isinstance(fn, functools.partial):
        fn = fn.func
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
        raise FlowError(f"the name {name!r} is a {type(name).__name__}; a name is a string")
    if not name.strip() or "\0" in name:
        raise FlowError(f"the name {name!r} is blank or holds a NUL; give it a name to be read")
    if not name.isascii() and valid(name) != name:
        raise FlowError(
            f"the name {name!r} holds half a character (a lone surrogate); leave it out"
        )
    return name
