"""Any value has a short text, the same in every run."""

from __future__ import annotations

import datetime
import decimal
import math
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from samples import (
    DESCRIPTIONS,
    BadNumber,
    BadRepr,
    Colour,
    CountedRepr,
    Level,
    LongRepr,
    class_name,
)

from nbflow.values.outline import cell, outline


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_says_any_value_in_one_line(name: str) -> None:
    value, text = DESCRIPTIONS[name]

    assert outline(value) == text


def test_cuts_long_texts() -> None:
    assert outline(LongRepr()) == "x" * 199 + "…"
    assert len(outline(LongRepr(), 2_000)) == 2_000


def test_does_not_call_the_repr_of_a_large_object() -> None:
    large = CountedRepr()
    large.payload = np.zeros(20_000_000, dtype="u1")  # type: ignore[attr-defined]
    CountedRepr.calls = 0

    assert outline(large) == "<CountedRepr>"
    assert CountedRepr.calls == 0


def test_strips_memory_addresses() -> None:
    values = [object(), [object(), [1]], lambda: None, pl.LazyFrame({"a": [1]}), iter([])]

    for value in values:
        assert "0x" not in outline(value)


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ("x" * 300, "x" * 199 + "…"),
        ("\ud800", "\\ud800"),
        (2**64 - 1, 2**64 - 1),
        (2**64, str(2**64)),
        (10**5_000, "<int>"),
        (math.nan, None),
        (math.inf, math.inf),
        (True, True),
        (np.float32(0.5), 0.5),
        (np.uint8(3), 3),
        (np.bool_(True), True),  # noqa: FBT003
        (np.str_("a"), "a"),
        (np.float64("nan"), None),
        (np.longdouble(2), "2.0"),
        (np.datetime64("2020-01-02", "ns"), "2020-01-02T00:00:00.000000000"),
        (pd.NaT, None),
        (pd.NA, None),
        (pd.Timestamp("2020-01-02"), "2020-01-02 00:00:00"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        (decimal.Decimal("1.10"), "1.10"),
        (Colour.RED, "Colour.RED"),
        (Level.HIGH, "3"),
        (b"raw", "b'raw'"),
        ([1, "a"], "[1, 'a']"),
        (object(), "<object object>"),
        (BadRepr(), "<BadRepr>"),
        (BadNumber(1), "<BadNumber>"),
    ],
    ids=class_name,
)
def test_bounds_cells_to_plain_values(value: Any, fits: Any) -> None:
    assert cell(value) == fits
    assert type(cell(value)) is type(fits)


def test_bounds_the_outline_of_nested_values() -> None:
    nested = {"numbers": [list(range(1_000_000))], "text": "x" * 10_000}

    assert len(outline(nested)) == 200
