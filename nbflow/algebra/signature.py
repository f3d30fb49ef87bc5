"""What arguments a callable accepts, answered fast enough to ask at every ``>>``."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


@dataclass(frozen=True, slots=True)
class Arity:
    """The arguments that a callable takes.

    Attributes
    ----------
    names
        Its positional parameters, in order.
    required
        How many of `names` have no default. They come first.
    positional_only
        How many of `names` cannot be given by keyword. They come first.
    keyword_only
        Its keyword-only parameters.
    required_keywords
        Those of `keyword_only` that have no default.
    var_positional, var_keyword
        Whether it takes any number of further arguments.
    known
        Whether the callable told its signature; some built in C do not.

    Examples
    --------
    >>> Arity.of(lambda left, right=None: None).missing(0, ())
    ('left',)
    """

    names: tuple[str, ...] = ()
    required: int = 0
    positional_only: int = 0
    keyword_only: tuple[str, ...] = ()
    required_keywords: tuple[str, ...] = ()
    var_positional: bool = False
    var_keyword: bool = False
    known: bool = True

    @classmethod
    def of(cls, fn: Callable[..., Any]) -> Arity:
        """Read the signature of a callable; one that hides it accepts anything."""
        try:
            parameters = inspect.signature(fn).parameters.values()
        except (ValueError, TypeError):
            return cls(var_positional=True, var_keyword=True, known=False)
        positional = [p for p in parameters if p.kind in _POSITIONAL]
        keyword_only = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        return cls(
            names=tuple(p.name for p in positional),
            required=sum(p.default is p.empty for p in positional),
            positional_only=sum(p.kind is p.POSITIONAL_ONLY for p in positional),
            keyword_only=tuple(p.name for p in keyword_only),
            required_keywords=tuple(p.name for p in keyword_only if p.default is p.empty),
            var_positional=any(p.kind is p.VAR_POSITIONAL for p in parameters),
            var_keyword=any(p.kind is p.VAR_KEYWORD for p in parameters),
        )

    def missing(self, count: int, keywords: Collection[str]) -> tuple[str, ...]:
        """Name the required parameters that a call leaves out.

        Parameters
        ----------
        count
            How many positional arguments the call has.
        keywords
            The names of its keyword arguments.
        """
        if count >= self.required and not self.required_keywords:
            return ()
        wanted = (*self.names[count : self.required], *self.required_keywords)
        unnamed = self.names[: self.positional_only]
        return tuple(name for name in wanted if name not in keywords or name in unnamed)

    def surplus(self, count: int, keywords: Collection[str]) -> str | None:
        """Say which argument of a call has no place, or give None if all have."""
        if count > len(self.names) and not self.var_positional:
            return self._too_many(count)
        if not keywords:
            return None
        taken = self.names[self.positional_only : count]
        for name in keywords:
            if name in taken:
                return f"gets two values for {name!r}"
            if self.var_keyword or name in self.keyword_only:
                continue
            if name not in self.names[self.positional_only :]:
                return f"has no parameter {name!r}"
        return None

    def _too_many(self, count: int) -> str:
        if not self.names:
            return f"takes no positional argument, and gets {count}"
        listed = ", ".join(self.names)
        return f"takes {len(self.names)} positional ({listed}), and gets {count}"
