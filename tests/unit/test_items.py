"""What a map goes over, listed; and what its elements are called."""

from __future__ import annotations

import datetime
import itertools
import uuid
from enum import Enum
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
import pytest

from nbflow.algebra.absence import Absent
from nbflow.algebra.items import (
    MOST_UNSIZED,
    SLICES,
    bounded,
    check_labels,
    elements_of,
    is_frame,
    labels_of,
    read_label,
)
from nbflow.errors import FlowError


@pytest.mark.parametrize(
    ("value", "size", "elements"),
    [
        ([1, 2, 3], None, [1, 2, 3]),
        ([1, 2, 3], 1, [[1], [2], [3]]),
        ([1, 2, 3], 2, [[1, 2], [3]]),
        ([1, 2, 3], 9, [[1, 2, 3]]),
        ([], None, []),
        ([], 2, []),
        ((1, 2), None, [1, 2]),
        ((1, 2), 2, [[1, 2]]),
        (range(3), 2, [[0, 1], [2]]),
        ("abc".split("b"), None, ["a", "c"]),
        ({"a": 1}.items(), None, [("a", 1)]),
        (np.arange(3), 2, [[0, 1], [2]]),
        (np.eye(2), None, [[1, 0], [0, 1]]),
        (pd.Series([4, 5], index=[1, 0]), None, [4, 5]),
        (pd.Series([4, 5], index=[1, 0]), 1, [[4], [5]]),
    ],
)
def test_what_a_map_goes_over_is_listed(value, size, elements):
    found = [
        each.tolist() if isinstance(each, np.ndarray) else each for each in elements_of(value, size)
    ]
    assert found == elements
    if not isinstance(value, np.ndarray) or value.ndim == 1:
        assert elements_of(iter(value), size) == elements


def test_a_list_is_never_handed_out_itself():
    items = [1, 2]
    elements_of(items).append(3)
    assert items == [1, 2]


@pytest.mark.parametrize("rows", [0, 1, SLICES - 1, SLICES, SLICES + 1, 1000])
@pytest.mark.parametrize("size", [None, 1, 7, 10_000])
def test_a_frame_is_cut_into_slices_of_its_rows(rows, size):
    frame = pd.DataFrame({"a": range(rows), "b": "x"}, index=range(rows, 0, -1))
    parts = elements_of(frame, size)
    assert all(len(part) == len(parts[0]) for part in parts[:-1])
    assert all(1 <= len(part) <= (size or rows) for part in parts)
    assert size is not None or len(parts) <= SLICES
    assert (pd.concat(parts) if parts else frame).equals(frame)


def test_what_has_no_end_is_read_up_to_a_bound():
    assert len(bounded(itertools.islice(itertools.count(), MOST_UNSIZED))) == MOST_UNSIZED
    endless = itertools.count()
    with pytest.raises(FlowError, match="a count gave more than 1,000,000 elements .*islice"):
        bounded(endless)
    assert next(endless) <= MOST_UNSIZED + 1
    assert len(elements_of(range(MOST_UNSIZED + 1))) == MOST_UNSIZED + 1


@pytest.mark.parametrize(
    ("value", "frame"),
    [
        (pd.DataFrame({"a": [1]}), True),
        (pd.DataFrame(), True),
        (pd.Series([1]), False),
        (pd.DataFrame, False),
        (np.eye(2), False),
        ([1], False),
    ],
)
def test_what_is_a_frame(value, frame):
    assert is_frame(value) is frame


class Colour(Enum):
    RED = 1


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("eu", "eu"),
        ("a b", "a b"),
        ("café", "café"),
        ("a[0]", "a[0]"),
        (2013, "2013"),
        (0, "0"),
        (2.5, "2.5"),
        (np.int64(7), "7"),
        (datetime.date(2013, 1, 2), "2013-01-02"),
        (pd.Period("2013-01"), "2013-01"),
        (("eu", 1), "('eu', 1)"),
        (PurePosixPath("data/eu.csv"), "data/eu.csv"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "Colour.RED"),
    ],
)
def test_a_key_is_anything_with_a_text_of_its_own(key, text):
    assert read_label(key, "element 0", "parse") == text
    assert labels_of([text], ["item"], "parse") == [text]
    assert labels_of(lambda item: key, ["item"], "parse") == [text]


@pytest.mark.parametrize(
    "key", ["", " \t", "a\0", "\ud800", None, True, b"a", object(), str, lambda: 1, [].append]
)
def test_a_key_without_one_is_refused(key):
    with pytest.raises(
        FlowError, match="the key of element 4 of the map of 'parse' is .*a number or"
    ):
        read_label(key, "element 4", "parse")


def test_elements_without_keys_have_numbers():
    assert labels_of(None, ["a", "b"], "parse") is None


def test_what_was_skipped_is_asked_for_no_name():
    absent = Absent("heavy", "is_big was False")
    assert labels_of(str.upper, ["a", absent, "b"], "parse") == ["A", "skipped 1", "B"]


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [(["a", "b", "a"], "0 and 2"), (["a", "b", "b"], "1 and 2"), (["a"] * 3, "0 and 1")],
)
def test_two_elements_with_one_key_are_named(labels, numbers):
    with pytest.raises(FlowError, match=f"have the key '[ab]', numbers {numbers}; give each a key"):
        check_labels(labels, "parse")
    check_labels(sorted(set(labels)), "parse")


@pytest.mark.parametrize(("labels", "items"), [(["a"], [1, 2]), (["a", "b"], [1]), ([], [1])])
def test_there_is_one_key_for_each_element(labels, items):
    with pytest.raises(FlowError, match=f"{len(labels)} keys for {len(items)} elements; give one"):
        labels_of(labels, items, "parse")
