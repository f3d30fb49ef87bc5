"""A user's function and its options: what a step is, before it is placed anywhere."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nbflow.algebra.callables import check_callable, checked_name, natural_name
from nbflow.algebra.fingerprint import same_function
from nbflow.algebra.options import Options
from nbflow.algebra.signature import Arity


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
