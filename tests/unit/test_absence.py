"""What stands where a value is missing, and what that means for those who need it."""

from __future__ import annotations

import pickle

import pytest

from nbflow.algebra.absence import Absent, first_absent, gathered_list

FAILED = Absent("load", "OSError: no disk", failed=True)
ASIDE = Absent("parse[3]", "parse[3] failed", collected=True)
SKIPPED = Absent("heavy", "is_big was False")
NO_ARM = Absent("", "is_big was False")


@pytest.mark.parametrize(
    ("absent", "reason"),
    [
        (FAILED, "load failed"),
        (ASIDE, "parse[3] failed"),
        (SKIPPED, "heavy was skipped"),
        (NO_ARM, "is_big was False"),
    ],
)
def test_who_needs_the_value_is_absent_for_the_same_cause(absent, reason):
    following = absent.following()
    assert following.reason == reason
    assert following.culprit == absent.culprit
    assert (following.failed, following.collected) == (absent.failed, absent.collected)
    assert following.following() == following


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], None),
        ([1, None, ""], None),
        ([1, SKIPPED], SKIPPED),
        ([SKIPPED, NO_ARM], SKIPPED),
        ([NO_ARM, SKIPPED], NO_ARM),
        ([SKIPPED, FAILED], FAILED),
        ([FAILED, SKIPPED, 1], FAILED),
        ([SKIPPED, ASIDE], ASIDE),
        ([ASIDE, SKIPPED], ASIDE),
        ([ASIDE, FAILED], FAILED),
        ([FAILED, ASIDE], FAILED),
    ],
)
def test_of_values_that_are_all_needed_a_failure_counts_most(values, found):
    assert first_absent(values) is found
    assert first_absent(tuple(values)) is found
    assert first_absent(iter(values)) is found


@pytest.mark.parametrize(
    ("values", "gathered", "inside"),
    [
        ([], [], []),
        ([1, None], [1, None], [1, None]),
        ([1, SKIPPED, 2], [1, 2], [1, 2]),
        ([SKIPPED, None], [None], [None]),
        ([SKIPPED], SKIPPED, SKIPPED),
        ([NO_ARM, SKIPPED], NO_ARM, NO_ARM),
        ([1, FAILED], FAILED, FAILED),
        ([SKIPPED, FAILED, 1], FAILED, FAILED),
        ([ASIDE, FAILED], FAILED, FAILED),
        ([1, ASIDE, 2], [1, 2], ASIDE),
        ([ASIDE], [], ASIDE),
        ([ASIDE, SKIPPED], [], ASIDE),
        ([ASIDE, SKIPPED, 1], [1], ASIDE),
    ],
)
def test_a_list_goes_on_with_what_there_is_unless_something_failed(values, gathered, inside):
    assert gathered_list(values) == gathered
    assert gathered_list(values, inside=True) == inside


def test_what_is_absent_travels():
    for absent in (FAILED, ASIDE, SKIPPED, NO_ARM):
        assert pickle.loads(pickle.dumps(absent)) == absent
