"""Which arm of a branch a value takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nbflow.errors import FlowError, quoted
from nbflow.values.outline import outline

# How many cases a message lists.
_CASES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """The cases of a branch, in the order of its arms.

    Attributes
    ----------
    name
        The step that decides.
    cases
        The value that takes each arm.
    truth
        Whether only true or false matters, as in ``branch``.
    default
        Whether one more arm takes what no case does.

    Examples
    --------
    >>> decision = Decision("region", ("eu", "us"), default=True)
    >>> decision.taken("us"), decision.taken("mars")
    (1, 2)
    """

    name: str
    cases: tuple[Any, ...]
    truth: bool = False
    default: bool = False

    def checked(self, value: Any) -> Any:
        """Give a value back if it decides, as True or False where only that matters.

        Raises
        ------
        FlowError
            If it is neither true nor false, or no case.
        """
        if self.truth:
            return holds(self.name, value)
        try:
            known = self.taken(value) is not None
        except Exception as error:  # noqa: BLE001 - a user's == may raise anything
            raise FlowError(
                f"the selector {quoted(self.name)} returned a {type(value).__name__}, which cannot "
                f"be compared with the cases ({outline(error, 120)}); return one of "
                f"{self._listed()}"
            ) from None
        if not known:
            raise FlowError(
                f"the selector {quoted(self.name)} returned {outline(value, 60)}, which is none of "
                f"the cases {self._listed()}; add the case, or a default="
            )
        return value

    def taken(self, value: Any) -> int | None:
        """Give the number of the arm that a value takes, or None."""
        for number, case in enumerate(self.cases):
            if case is value or case == value:
                return number
        return len(self.cases) if self.default else None

    def said(self, arm: int | None) -> str:
        """Name the case of an arm."""
        return "default" if arm is None or arm >= len(self.cases) else str(self.cases[arm])

    def _listed(self) -> str:
        more = ", …" if len(self.cases) > _CASES else ""
        return ", ".join(outline(case, 40) for case in self.cases[:_CASES]) + more


def holds(name: str, value: Any) -> bool:
    """Tell whether what a predicate gave is true.

    Raises
    ------
    FlowError
        If it is neither true nor false, as a frame is.
    """
    try:
        return bool(value)
    except Exception as error:  # noqa: BLE001 - a user's __bool__ may raise anything
        raise FlowError(
            f"the predicate {quoted(name)} returned a {type(value).__name__}, which is neither "
            f"true nor false ({outline(error, 120)}); return a bool, such as len(df) > 0"
        ) from None
