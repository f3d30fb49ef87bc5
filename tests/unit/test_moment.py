"""When a run is to begin, in seconds and in words."""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbflow import FlowError
from nbflow.algebra.moment import begins, clock, due_at, span
from nbflow.journal.entry import Entry
from nbflow.running.clock import COURTESY_SECONDS, LOOK_SECONDS, ready_at
from nbflow.store.owner import Owner

zones = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), zones)
def test_a_time_with_its_zone_is_a_moment(local, zone):
    at = local.replace(tzinfo=zone)

    assert due_at(at, None, now=0.0) == pytest.approx(at.astimezone(UTC).timestamp())


def test_numbers_are_seconds_since_the_epoch_or_from_now():
    assert due_at(1500, None, now=1000.0) == 1500.0
    assert due_at(None, 2.5, now=1000.0) == 1002.5
    assert due_at(None, 0, now=1000.0) == 1000.0
    assert due_at(pd.Timestamp("2026-11-21 20:00", tz="UTC"), None, now=0.0) == 1795291200.0
    assert due_at(None, None, now=1000.0) is None


@pytest.mark.parametrize(
    ("at", "after", "words"),
    [
        (datetime(2026, 11, 21), None, "no time zone.* give it one"),
        (pd.Timestamp("2026-11-21"), None, "no time zone"),
        (pd.NaT, None, "no time zone"),
        (math.nan, None, "a finite number of seconds since the epoch"),
        (math.inf, None, "a finite number"),
        (True, None, "a datetime with a time zone"),
        ("06:00", None, "at is '06:00'; expected is a datetime"),
        (None, -1, "after is -1; expected is .* 0 or more"),
        (None, math.nan, "after is nan"),
        (None, timedelta(hours=1), "a finite number of seconds"),
        (0, 0, "at is 0 and after is 0; give one of them"),
    ],
)
def test_what_is_no_moment_is_refused(at, after, words):
    with pytest.raises(FlowError, match=words):
        due_at(at, after, now=0.0)


def test_who_has_a_run_that_waits_starts_it_before_others_do():
    entry = Entry("run-1", "etl", "pending", started=0.0, due=60.0)

    assert ready_at(entry, 0.0, {"run-1"}) == 60.0
    assert ready_at(entry, 0.0, {}) == 60.0 + COURTESY_SECONDS


def test_a_run_that_another_starts_is_looked_at_again_later():
    owner = Owner.for_now()
    entry = Entry("run-1", "etl", "pending", 0.0, due=60.0, owner=owner, expires=130.0)

    assert ready_at(entry, 100.0, {"run-1"}) == 100.0 + LOOK_SECONDS
    assert ready_at(entry, 131.0, {"run-1"}) == 60.0


# In words


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (0.2, "in 1 s"),
        (42, "in 42 s"),
        (180, "in 3 min"),
        (89 * 60, "in 89 min"),
        (5 * 3600, "in 5 h"),
        (30 * 3600, "in 30 h"),
        (5 * 86_400, "in 5 days"),
        (0.0, "now"),
        (-10.0, "now"),
    ],
)
def test_what_waits_says_at_what_time_and_how_long_that_is(left, said):
    now = 1_800_000_000.0
    when = clock(now + left, now)

    assert begins(now + left, now) == f"begins {when}, {said}"


def test_a_time_that_has_passed_says_so():
    assert re.fullmatch(
        r"was to begin \d\d:\d\d:00, 5 min ago", begins(1_800_000_000.0, 1_800_000_300.0)
    )


def test_a_time_that_is_far_away_says_its_day():
    noon = time.mktime((2031, 5, 6, 12, 0, 0, 0, 0, -1))

    assert clock(noon, noon - 60) == "12:00:00"
    assert clock(noon, noon - 86_400) == "2031-05-06 12:00"


@pytest.mark.parametrize("at", [1e300, math.nan, math.inf])
def test_a_time_beyond_all_calendars_is_later(at):
    assert begins(at, 0.0) == "begins later"


@given(st.floats(0, 1e12))
def test_a_span_has_a_whole_number_and_a_unit(seconds):
    assert re.fullmatch(r"[\d,]+ (s|min|h|days)", span(seconds))
