"""Where the time of a run went, told from its events."""

from __future__ import annotations

from gallery import etl, named, planned

from nbflow.record.events import ElementRecords, Event, Status
from nbflow.record.spans import critical_path, spans_of
from nbflow.record.turns import Resumed

W1, W2 = "tcp://10.0.0.1:1", "tcp://10.0.0.2:1"
load, parse, tidy = (named(each) for each in ("load", "parse", "tidy"))


def spans(flow, events, now=100.0):
    return spans_of(flow.topology, planned(flow, 10.0).apply(events), events, now)


def told(found):
    return [(s.step, round(s.start, 3), round(s.end, 3), str(s.status)) for s in found]


def test_each_attempt_is_a_span_and_the_wait_after_it_is_known():
    events = [
        Event("load", Status.RETRYING, 11.0, 1, W1, 0.5, retry_at=13.0),
        Event("load", Status.COMPLETED, 14.0, 2, W2, 1.0),
    ]

    first, second = spans(load.s() >> parse, events)

    assert told([first, second]) == [
        ("load", 10.5, 11.0, "retrying"),
        ("load", 13.0, 14.0, "completed"),
    ]
    assert (first.until, second.attempt, second.worker) == (13.0, 2, W2)


def test_what_still_runs_goes_on_until_now():
    events = [Event("load", Status.RUNNING, 11.0, 1, W1)]

    assert told(spans(load.s() >> parse, events, now=20.0)) == [("load", 11.0, 20.0, "running")]


def test_what_ran_when_the_run_stopped_is_interrupted_and_what_is_reused_says_so():
    flow = load.s() >> parse
    events = [
        Event("load", Status.COMPLETED, 11.0, 1, W1, 1.0),
        Event("parse", Status.RUNNING, 12.0, 1, W1),
        Event("", Status.INTERRUPTED, 13.0, reason="the kernel died"),
        Event("", Status.RUNNING, 90.0, turn=Resumed(frozenset({"load"}), {"parse": None})),
        Event("parse", Status.COMPLETED, 92.0, 2, W2, 1.0),
    ]

    assert told(spans(flow, events)) == [
        ("load", 10.0, 11.0, "reused"),
        ("parse", 12.0, 13.0, "interrupted"),
        ("parse", 91.0, 92.0, "completed"),
    ]


def test_an_attempt_whose_worker_was_lost_is_shown():
    events = [
        Event("load", Status.RUNNING, 11.0, 1, W1),
        Event("load", Status.RUNNING, 15.0, 2, W2),
        Event("load", Status.COMPLETED, 16.0, 2, W2, 1.0),
    ]

    assert told(spans(load.s() >> parse, events)) == [
        ("load", 11.0, 15.0, "interrupted"),
        ("load", 15.0, 16.0, "completed"),
    ]


def test_undoing_is_a_span():
    events = [
        Event("load", Status.COMPLETED, 11.0, 1, W1, 1.0),
        Event("load", Status.COMPENSATED, 13.0, 1, W1, 0.5, undo=True),
    ]

    assert [each.undo for each in spans(load.s() >> parse, events)] == [False, True]


def elements(name, start, seconds, at, **known):
    statuses = (Status.COMPLETED,) * len(seconds)
    records = ElementRecords(start, statuses, seconds, thread=7, **known)
    return Event(name, Status.COMPLETED, at, 1, W1, 9.0, elements=records, total=4)


def test_elements_follow_one_another_in_the_time_of_their_portion():
    flow = load.s() >> (parse >> tidy).map()
    events = [
        elements("parse", 0, (0.4, 0.4), 12.0, began=10.0, ended=11.4),
        elements("tidy", 0, (0.5, 0.5), 12.0, began=10.4, ended=12.0),
    ]

    found = spans(flow, events)

    assert [(s.step, s.label) for s in found] == [
        ("parse", "0"),
        ("parse", "1"),
        ("tidy", "0"),
        ("tidy", "1"),
    ] or {s.thread for s in found} == {7}
    assert all(10.0 <= s.start < s.end <= 12.0 for s in found)


def test_very_brief_elements_are_told_of_together():
    flow = load.s() >> parse.map()
    events = [elements("parse", 0, (0.001,) * 4, 12.0, began=10.0, ended=10.1)]

    (one,) = spans(flow, events)

    assert (one.count, one.label) == (4, "")


def test_the_critical_path_follows_what_ended_last():
    flow = etl()
    ends = {"extract": 1, "clean": 2, "weather": 5, "hourly": 6, "merge": 7, "load": 9}
    events = [Event(n, Status.COMPLETED, 10.0 + at, 1, W1, 0.5) for n, at in ends.items()]

    path = critical_path(flow.topology, spans(flow, events))

    assert path == ["weather", "hourly", "merge", "load"]
