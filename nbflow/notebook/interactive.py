"""A result as a table to sort, search and page through, by the optional package itables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nbflow.errors import MissingExtraError
from nbflow.notebook.html import escaped
from nbflow.notebook.wording import printable

if TYPE_CHECKING:
    import pandas as pd

# More than this is cut down to a sample, which the table says.
_MOST_BYTES = 2_000_000


@dataclass(frozen=True)
class InteractiveTable:
    """A table that works in the browser alone, also where there is no network.

    What it needs is a part of the output, about a megabyte; a notebook that is not
    trusted shows its first rows.

    Attributes
    ----------
    title
        What it is a table of.
    frame
        What it shows.
    """

    title: str
    frame: pd.DataFrame

    @cached_property
    def html(self) -> str:
        """The table and what makes it interactive."""
        itables = _itables()
        library = import_module("itables.javascript")
        bundle = import_module("itables.options").dt_bundle
        shown = itables.to_html_datatable(
            self.frame,
            # A caption is HTML to itables, which escapes all the rest.
            caption=str(escaped(printable(self.title))),
            connected=False,
            maxBytes=_MOST_BYTES,
            display_logo_when_loading=False,
        )
        return f"{library.generate_init_offline_itables_html(bundle)}{shown}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": repr(self.frame)}

    def __repr__(self) -> str:
        return repr(self.frame)


def interactive(title: str, fetch: Callable[[], pd.DataFrame]) -> InteractiveTable:
    """Make an interactive table.

    Parameters
    ----------
    title
        What it is a table of.
    fetch
        Gives the frame; not called if the table could not be shown.

    Raises
    ------
    MissingExtraError
        If itables is not installed.

    Examples
    --------
    >>> import pandas as pd
    >>> interactive("clean", lambda: pd.DataFrame({"n": [1]}))  # doctest: +SKIP
       n
    0  1
    """
    _itables()
    return InteractiveTable(title, fetch())


def _itables() -> Any:
    try:
        return import_module("itables")
    except ImportError as error:
        raise MissingExtraError(
            "an interactive table needs the package 'itables', which is not installed; install it "
            "with: pip install 'nbflow[tables]'. run[step] shows the result without it"
        ) from error
