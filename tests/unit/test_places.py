"""A traceback that has travelled leads through the same places."""

from __future__ import annotations

import inspect
import traceback

from nbflow.record.places import places_of, traceback_from


def fails():
    number = 1
    return number / 0


def sink(depth):
    return fails() if depth == 0 else sink(depth - 1)


def caught(fn, *args):
    try:
        fn(*args)
    except ZeroDivisionError as error:
        return error.__traceback__


def test_lines_functions_and_files_are_the_same():
    start = caught(fails)
    seen = [(each.filename, each.lineno, each.name) for each in traceback.extract_tb(start)]
    made = traceback.extract_tb(traceback_from(places_of(start)))
    assert [(each.filename, each.lineno, each.name) for each in made] == seen


def test_a_frame_begins_where_its_function_does():
    made = traceback_from(places_of(caught(fails)))
    frame = made.tb_next.tb_frame
    lines, first = inspect.getsourcelines(frame)
    assert first == fails.__code__.co_firstlineno
    assert lines[0].startswith("def fails")


def test_the_middle_of_a_very_long_traceback_is_left_out():
    places = places_of(caught(sink, 200))
    assert len(places) == 60
    assert places[-1].function == "fails"


def test_nothing_gives_nothing():
    assert traceback_from(places_of(None)) is None
