"""Which row of the fault matrix, and which moment of a run, a test is about."""

from __future__ import annotations

import pytest


def row(name: str) -> pytest.MarkDecorator:
    """Put a row of the matrix into the id of a test.

    Parameters
    ----------
    name
        The number of the row, and the moment: ``"4-M4"``.
    """
    return pytest.mark.parametrize("row", [name], indirect=True, ids=[f"row{name}"])
