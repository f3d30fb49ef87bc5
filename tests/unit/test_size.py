"""Sizes are estimated from a sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from samples import (
    Point,
    Slotted,
)

from nbflow.values.size import size_of


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (b"x" * 10_000, 10_000, 11_000),
        ("x" * 10_000, 10_000, 11_000),
        (np.zeros(10_000), 80_000, 81_000),
        (pd.DataFrame({"a": np.zeros(10_000)}), 80_000, 81_000),
        (pd.Series(np.zeros(10_000)), 80_000, 81_000),
        (pd.Series(["x" * 100] * 1_000, dtype=object), 100_000, 200_000),
        (pd.DataFrame({"a": ["x" * 100] * 1_000}, dtype=object), 100_000, 200_000),
        (pd.DataFrame(np.zeros((10, 300), dtype=object)), 24_000, 200_000),
        (pd.Series(["x" * 100] * 1_000, dtype="str"), 100_000, 120_000),
        (pa.table({"a": np.zeros(10_000)}), 80_000, 81_000),
        (pl.DataFrame({"a": np.zeros(10_000)}), 80_000, 81_000),
        (list(range(1_000, 11_000)), 300_000, 400_000),
        ([np.zeros(1_000)] * 100, 800_000, 900_000),
        ({i: f"{i:0100}" for i in range(1_000)}, 100_000, 300_000),
        ({f"{i:0100}" for i in range(1_000)}, 100_000, 300_000),
        (Slotted(np.zeros(10_000)), 80_000, 81_000),
        (Point(1, 2), 50, 200),
    ],
)
def test_estimates_sizes(value: Any, low: int, high: int) -> None:
    assert low <= size_of(value) <= high


def test_counts_what_an_object_holds_or_declares() -> None:
    class Holder:
        def __init__(self) -> None:
            self.payload = np.zeros(10_000)

    class Declared:
        nbytes = 12_345

    assert size_of(Holder()) > 80_000
    assert size_of(Declared()) >= 12_345
