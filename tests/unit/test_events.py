"""The fold: what events say about a run."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from nbflow.record.events import DeadLetter, ElementRecords, ErrorRecord, Event, Status
from nbflow.record.state import RunState, Shape
from nbflow.record.stepstate import StepState
from nbflow.record.summary import letters_table
from nbflow.record.turns import Resumed
from nbflow.values.preview import preview

ERROR = ErrorRecord("ValueError", "bad", "Traceback …")


def planned(**totals: int | None) -> RunState:
    shapes = {name: Shape(total is not None, total) for name, total in totals.items()}
    return RunState.planned("r", "flow", shapes, 1.0)


def done(step: str, at: float = 2.0, status: Status = Status.COMPLETED) -> Event:
    return Event(step, status, at, seconds=0.5, worker="w")


def portion(start: int, count: int, **found: object) -> Event:
    records = ElementRecords(start, (Status.COMPLETED,) * count, (0.1,) * count, **found)  # type: ignore[arg-type]
    return Event("m", Status.COMPLETED, 5.0 + start, 1, "w", 1.0, elements=records)


def test_a_run_without_steps_is_complete_from_the_start() -> None:
    state = planned()
    assert (state.status, state.ended) == (Status.COMPLETED, 1.0)


def test_a_step_starts_and_ends() -> None:
    state = planned(a=None)
    assert (state.status, state.steps["a"].status) == (Status.RUNNING, Status.PENDING)
    state = state.apply([Event("a", Status.RUNNING, 2.0, worker="w")])
    step = state.steps["a"]
    assert (step.status, step.started, step.attempts, step.worker) == (Status.RUNNING, 2.0, 1, "w")
    state = state.apply([Event("a", Status.COMPLETED, 3.0, 1, "w", 0.9, preview([1, 2]))])
    step = state.steps["a"]
    assert (step.status, step.started, step.ended, step.seconds) == (
        Status.COMPLETED,
        2.0,
        3.0,
        0.9,
    )
    assert (step.rows, step.columns) == (2, 1)
    assert (state.status, state.ended) == (Status.COMPLETED, 3.0)


def test_the_start_is_reckoned_where_it_was_not_told() -> None:
    step = planned(a=None).apply([done("a", at=2.0)]).steps["a"]
    assert (step.started, step.ended, step.attempts) == (1.5, 2.0, 1)


def test_what_has_ended_stays_as_it_ended() -> None:
    state = planned(a=None).apply([Event("a", Status.FAILED, 2.0, error=ERROR)])
    after = state.apply([Event("a", Status.RUNNING, 3.0), done("a", 4.0)])
    assert after.steps == state.steps
    assert (after.status, after.ended) == (Status.FAILED, 2.0)


def test_the_status_of_a_run_is_that_of_its_steps() -> None:
    skipped = Event("b", Status.SKIPPED, 2.0, reason="a failed")
    failed = Event("a", Status.FAILED, 2.0, error=ERROR)
    cancelled = Event("b", Status.CANCELLED, 2.0)
    assert planned(a=None, b=None).apply([failed]).status == Status.RUNNING
    assert planned(a=None, b=None).apply([failed, skipped]).status == Status.FAILED
    assert planned(a=None, b=None).apply([done("a"), cancelled]).status == Status.CANCELLED
    assert planned(a=None, b=None).apply([failed, cancelled]).status == Status.FAILED
    assert planned(a=None, b=None).apply([done("a"), done("b")]).status == Status.COMPLETED


def test_a_skipped_step_was_never_tried() -> None:
    step = planned(a=None).apply([Event("a", Status.SKIPPED, 2.0, reason="x failed")]).steps["a"]
    assert (step.attempts, step.started, step.reason) == (0, None, "x failed")


def test_elements_add_up() -> None:
    state = planned(m=5).apply([portion(0, 2, rows=4, columns=1, bytes=10)])
    step = state.steps["m"]
    assert (step.status, step.done, step.rows, step.bytes) == (Status.RUNNING, 2, 4, 10)
    state = state.apply([portion(2, 3, rows=6, columns=2, bytes=5)])
    step = state.steps["m"]
    assert (step.status, step.done, step.rows, step.columns, step.bytes) == (
        Status.COMPLETED,
        5,
        10,
        2,
        15,
    )


def test_a_map_of_nothing_completes() -> None:
    step = planned(m=0).apply([portion(0, 0)]).steps["m"]
    assert (step.status, step.done) == (Status.COMPLETED, 0)


def test_elements_that_failed_or_were_skipped_count() -> None:
    records = ElementRecords(
        0,
        (Status.COMPLETED, Status.FAILED, Status.SKIPPED),
        (0.1, 0.1, 0.0),
        errors={1: ERROR},
        reasons={2: "x failed"},
    )
    step = planned(m=3).apply([Event("m", Status.FAILED, 2.0, elements=records)]).steps["m"]
    assert (step.status, step.failed, step.skipped, step.error) == (Status.FAILED, 1, 1, ERROR)
    only = ElementRecords(0, (Status.SKIPPED,), (0.0,), reasons={0: "x failed"})
    step = planned(m=1).apply([Event("m", Status.COMPLETED, 2.0, elements=only)]).steps["m"]
    assert (step.status, step.reason) == (Status.SKIPPED, "x failed")


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(1, 8)), max_size=12), st.randoms())
def test_elements_told_again_in_other_portions_count_once(
    told: list[tuple[int, int]], random: object
) -> None:
    portions = [portion(start, min(size, 20 - start)) for start, size in told]
    step = planned(m=20).apply(portions).steps["m"]
    known = {n for start, size in told for n in range(start, min(start + size, 20))}
    assert step.done == len(known)
    assert step.status == ("completed" if len(known) == 20 else "running" if known else "pending")
    heard = [n for part in step.elements for n in range(part.start, part.stop)]
    assert sorted(heard) == sorted(known)


def test_a_part_of_the_records_keeps_what_is_about_it() -> None:
    look = preview(1)
    records = ElementRecords(
        4,
        (Status.COMPLETED, Status.FAILED, Status.COMPLETED),
        (1.0, 2.0, 3.0),
        {4: look, 6: look},
        {5: "words"},
        {5: ERROR},
        3,
        1,
        30,
    )
    part = records.within(5, 7)
    assert (part.start, part.stop, part.seconds) == (5, 7, (2.0, 3.0))
    assert (part.previews, part.logs, part.errors) == ({6: look}, {5: "words"}, {5: ERROR})
    assert (part.rows, part.bytes) == (None, 20)
    assert records.within(4, 7) is records


def test_events_travel_whole() -> None:
    event = portion(3, 2, logs={3: "x"}, errors={4: ERROR})
    assert pickle.loads(pickle.dumps(event)) == event
    full = Event("a", Status.FAILED, 1.0, 2, "w", 0.5, preview(3), "log", ERROR, "why")
    assert pickle.loads(pickle.dumps(full)) == full


@given(st.permutations([done("a"), done("b", 3.0), Event("c", Status.SKIPPED, 2.5)]))
def test_the_order_among_steps_does_not_matter(events: list[Event]) -> None:
    state = planned(a=None, b=None, c=None).apply(events)
    assert state.counts() == {Status.COMPLETED: 2, Status.SKIPPED: 1}
    assert state.ended == 3.0


def test_states_are_values() -> None:
    before = planned(a=None)
    before.apply([done("a")])
    assert before.steps["a"] == StepState("a")


def test_the_reason_and_the_letters_are_the_same_in_whatever_order_portions_come() -> None:
    letter = {n: DeadLetter(None, str(n)) for n in range(2)}

    def skipped(n: int) -> Event:
        records = ElementRecords(n, (Status.SKIPPED,), (0.0,), reasons={n: f"load[{n}] failed"})
        return Event("m", Status.SKIPPED, 5.0, elements=records)

    def failed(n: int) -> Event:
        return Event(
            "m",
            Status.FAILED,
            5.0,
            elements=ElementRecords(
                n, (Status.FAILED,), (0.0,), errors={n: ERROR}, letters={n: letter[n]}
            ),
        )

    for order in ([0, 1], [1, 0]):
        assert planned(m=2).apply(map(skipped, order)).steps["m"].reason == "load[0] failed"
        assert letters_table(planned(m=2).apply(map(failed, order))).element.tolist() == [0, 1]


def test_what_only_failed_elements_are_cut_out_of_keeps_its_totals() -> None:
    records = ElementRecords(
        0,
        (Status.COMPLETED, Status.FAILED, Status.COMPLETED),
        (0.1,) * 3,
        errors={1: ERROR},
        letters={1: DeadLetter(None, "1")},
        rows=7,
        columns=2,
        bytes=90,
    )
    parts = records.without([1])
    assert [(each.start, each.stop, each.rows, each.bytes) for each in parts] == [
        (0, 1, 7, 90),
        (2, 3, 0, 0),
    ]
    # What a completed element has given cannot be taken out of the sum.
    assert [each.rows for each in records.without([0])] == [None]
    assert records.without([8]) == [records]


def test_a_step_that_was_about_to_run_and_is_skipped_was_never_tried() -> None:
    events = [Event("a", Status.RUNNING, 2.0), done("a", status=Status.SKIPPED)]
    step = planned(a=None).apply(events).steps["a"]
    assert (step.status, step.attempts, step.started) == (Status.SKIPPED, 0, None)


def test_the_time_in_which_nobody_drove_a_run_is_not_the_time_it_took():
    state = RunState.planned("r1", "etl", {"str": Shape(mapped=False, total=None)}, 100.0)
    failed = state.apply([Event("str", Status.FAILED, 110.0)])
    turn = Resumed(frozenset(), {"str": None})
    resumed = failed.apply(
        [
            Event("", Status.RUNNING, 5_000.0, seconds=4_890.0, turn=turn),
            Event("str", Status.COMPLETED, 5_002.0),
        ]
    )
    assert (failed.seconds(9_000.0), resumed.seconds(9_000.0)) == (10.0, 12.0)
    assert resumed.ended == 5_002.0
