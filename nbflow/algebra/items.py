"""What a map goes over: any value, listed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from itertools import islice
from typing import Any

from nbflow.algebra.absence import Absent
from nbflow.errors import FlowError, quoted
from nbflow.values.outline import outline, valid

# How many slices a frame is mapped over in.
SLICES = 16

# What does not know its own length is read up to here, for it may have no end.
MOST_UNSIZED = 1_000_000

_WHOLE = (str, bytes, bytearray, Mapping)


def elements_of(value: Any, size: int | None = None, rows: int | None = None) -> list[Any]:
    """List what a map goes over: one item for each element.

    Parameters
    ----------
    value
        A list, a tuple, a range, an array, a generator; or a frame, which gives
        slices of its rows.
    size
        How many items, or rows of a frame, make one element; None for one.
    rows
        How many rows of a frame do, if `size` is not given; None for as many as make
        about 16 slices.

    Raises
    ------
    FlowError
        If it cannot be gone through, has no order, or has no end.

    Examples
    --------
    >>> elements_of(range(3)), elements_of("abc".split("b"), 2)
    ([0, 1, 2], [['a', 'c']])
    """
    if type(value) is not list:
        _check(value)
        if is_frame(value):
            rows = size or rows or max(1, -(-len(value) // SLICES))
            return [value.iloc[start : start + rows] for start in range(0, len(value), rows)]
        value = list(value) if hasattr(value, "__len__") else bounded(value)
    if size is None:
        return list(value)
    return [value[start : start + size] for start in range(0, len(value), size)]


def _check(value: Any) -> None:
    if isinstance(value, (set, frozenset)):
        raise FlowError("a set has no order, so its elements cannot be numbered; give a list")
    advice = ""
    if isinstance(value, (str, bytes, bytearray)):
        advice = "; for one element put it into a list, for its lines write .splitlines()"
    elif isinstance(value, Mapping):
        advice = "; write list(the_dict.items()) for pairs, or list(the_dict) for keys"
    if isinstance(value, _WHOLE) or not _can_iterate(value):
        raise FlowError(
            f"a map goes over a list, a tuple, a range, an array, a frame or a generator, and "
            f"cannot go over {quoted(value)}, of type {type(value).__name__}{advice}"
        )


def _can_iterate(value: Any) -> bool:
    # An array without dimensions has an __iter__, which raises.
    try:
        iter(value)
    except TypeError:
        return False
    return True


def bounded(value: Iterable[Any]) -> list[Any]:
    """List what may have no end.

    Raises
    ------
    FlowError
        If it has more elements than anybody can mean.

    Examples
    --------
    >>> bounded(n * n for n in range(3))
    [0, 1, 4]
    """
    found = list(islice(value, MOST_UNSIZED + 1))
    if len(found) > MOST_UNSIZED:
        raise FlowError(
            f"a {type(value).__name__} gave more than {MOST_UNSIZED:,} elements and may have no "
            f"end; bound it with itertools.islice, or give a list if it is meant to be as long"
        )
    return found


def is_frame(value: Any) -> bool:
    """Tell whether a value is a frame of rows and columns."""
    return hasattr(value, "iloc") and isinstance(value, Sized) and hasattr(value, "columns")


def labels_of(label: Any, items: Sequence[Any], name: str) -> list[str] | None:
    """Name the elements of a map.

    Parameters
    ----------
    label
        A function from an item to a name, the names in order, or None for numbers.
    items
        What the map goes over.
    name
        The step, for the message.

    Raises
    ------
    FlowError
        If two elements have one name, a name cannot be read, or there are more or fewer
        names than items.
    """
    if label is None:
        return None
    found = _named(label, items, name) if callable(label) else list(label)
    if len(found) != len(items):
        raise FlowError(
            f"the map of {quoted(name)} has {len(found)} keys for {len(items)} elements; give one "
            f"for each, or a function of the item"
        )
    check_labels(found, name)
    return found


def _named(label: Callable[[Any], Any], items: Sequence[Any], name: str) -> list[str]:
    found = []
    for number, each in enumerate(items):
        if type(each) is Absent:
            # What was skipped is no item that a function of the user could name.
            found.append(f"skipped {number}")
            continue
        try:
            key = label(each)
        except Exception as error:
            error.add_note(f"raised by the key= of the map of {quoted(name)}, of {outline(each)}")
            raise
        plain = type(key) is str and key.isalnum()
        found.append(key if plain else read_label(key, f"the item {outline(each, 60)}", name))
    return found


def read_label(key: Any, which: str, name: str) -> str:
    """Give the key of an element as text.

    Parameters
    ----------
    key
        What the user gave.
    which, name
        The element and the step, for the message.

    Raises
    ------
    FlowError
        If it cannot be read, or says nothing about the element.

    Examples
    --------
    >>> read_label(2013, "element 0", "parse")
    '2013'
    """
    if key is not None and not isinstance(key, (bool, bytes, bytearray)) and not callable(key):
        text = str(key)
        if _has_text(type(key)) and text.strip() and "\0" not in text and valid(text) == text:
            return text
    raise FlowError(
        f"the key of {which} of the map of {quoted(name)} is {outline(key, 60)}; it must "
        f"be a text to be read, a number or a date"
    )


def _has_text(kind: Any) -> bool:
    # The text of an object without one of its own is its address.
    return kind.__str__ is not object.__str__ or kind.__repr__ is not object.__repr__


def check_labels(labels: Sequence[str], name: str) -> None:
    """Refuse names of elements that are not all different.

    Raises
    ------
    FlowError
        Naming the first two elements that share one.
    """
    if len(set(labels)) == len(labels):
        return
    first: dict[str, int] = {}
    for number, label in enumerate(labels):
        known = first.setdefault(label, number)
        if known != number:
            raise FlowError(
                f"two elements of the map of {quoted(name)} have the key {quoted(label)}, numbers "
                f"{known} and {number}; give each a key of its own"
            )


Label = Callable[[Any], Any] | Sequence[Any] | None
