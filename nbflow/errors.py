"""Every exception of nbflow, worded.

One root, and the matching builtin beside it, so that both ``except NbflowError``
and ``except ValueError`` work. A message says what happened with the name in
quotes, what was expected, and what to do.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class NbflowError(Exception):
    """The root of everything that nbflow raises of its own."""


class FlowError(NbflowError, ValueError):
    """A step or a flow was described in a way that cannot mean anything."""


class SignatureError(FlowError, TypeError):
    """A call does not fit the signature of its function."""


class CycleError(FlowError):
    """A graph that came from elsewhere leads back to itself."""


class UnsupportedError(NbflowError, NotImplementedError):
    """An option or method is part of the interface, but does not work yet."""


class MissingExtraError(NbflowError, ImportError):
    """Something needs an optional package that is not installed."""


class UnknownStepError(NbflowError, KeyError):
    """No step has the name that was asked for."""

    def __str__(self) -> str:
        # KeyError would show the message in quotes.
        return str(self.args[0]) if self.args else ""


class ParamError(NbflowError, ValueError):
    """A run-time parameter is missing, unknown, or defined twice."""


class TransferError(NbflowError, TypeError):
    """A value cannot travel between the notebook and the workers."""


class ClusterError(NbflowError, ConnectionError):
    """There is no cluster at an address, or it was lost."""


class RunError(NbflowError, RuntimeError):
    """A run failed, and no exception of the user's own can say why."""


class RunTimeoutError(NbflowError, TimeoutError):
    """A run was still going when the time to wait for it was over."""


class RunCancelledError(RunError):
    """A run was cancelled before it could end."""


class StoreError(NbflowError, RuntimeError):
    """A result or a record could not be written or read."""


class RunNotFoundError(NbflowError, KeyError):
    """No run has the id that was asked for."""

    def __str__(self) -> str:
        # KeyError would show the message in quotes.
        return str(self.args[0]) if self.args else ""


class IdempotencyError(NbflowError, ValueError):
    """A key already names a run of another flow."""


def quoted(name: object, limit: int = 60) -> str:
    """Put a name into a message: in quotes, on one line, of bounded length.

    Examples
    --------
    >>> quoted("clean")
    "'clean'"
    """
    text = repr(str(name))
    if len(text) > limit:
        text = text[: limit - 2] + "…" + text[-1]
    return text


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Word a suggestion for a name that is not known, or list what is.

    Examples
    --------
    >>> did_you_mean("claen", ["clean", "merge"])
    "did you mean 'clean'?"
    """
    names = list(known)
    matches = get_close_matches(str(name), names, n=3, cutoff=0.6)
    if matches:
        return f"did you mean {' or '.join(quoted(match) for match in matches)}?"
    if not names:
        return "there are none"
    listed = ", ".join(quoted(each) for each in names[:8])
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"there are {listed}{more}"
