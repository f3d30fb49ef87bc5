"""A user's function and its options: what a step is, before it is placed anywhere."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from nbflow.errors import FlowError, UnsupportedError, did_you_mean, quoted
from nbflow.fingerprint import same_function
from nbflow.outline import valid
from nbflow.signature import Arity

_LAMBDA = "<lambda>"


@dataclass(frozen=True, slots=True)
class Options:
    """How a step is to be run.

    Attributes
    ----------
    fuse
        Whether the step may share a Dask task with its neighbours.
    resources
        The Dask worker resources that the step needs, such as ``{"GPU": 1}``.
    priority
        Steps of higher priority start first where workers are scarce.
    tags
        Words for the user's own use.
    """

    fuse: bool = True
    resources: Mapping[str, float] | None = None
    priority: int = 0
    tags: tuple[str, ...] = ()
    # Parts of the interface that later versions fill; any other value is refused.
    retry: Any = 0
    timeout: Any = None
    when: Any = None
    compensate: Any = None
    effect: Any = False
    cache: Any = False
    checkpoint: Any = "auto"
    lock: Any = None

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
        return not self.fuse or self.resources is not None


_LATER = frozenset(
    {"retry", "timeout", "when", "compensate", "effect", "cache", "checkpoint", "lock"}
)
_DEFAULTS = {each.name: each.default for each in fields(Options)}


def _is_default(name: str, value: Any) -> bool:
    # By identity first: a frame compares to a frame, and 0 seconds equal False.
    default = _DEFAULTS[name]
    plain = type(value) is type(default) and isinstance(value, (int, str))
    return value is None or value is False or (plain and value == default)


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
            and self.options == other.options
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
