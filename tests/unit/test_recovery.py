"""What a run that stopped does when it goes on, decided from what is known alone."""

import pytest

from nbflow import branch, step
from nbflow.record.events import DeadLetter, ElementRecords, Event, Status
from nbflow.record.failure import recorded
from nbflow.record.recollection import GONE, Held, Shelf, recollected
from nbflow.record.recovery import decided, resumed
from nbflow.record.state import RunState
from nbflow.record.summary import number_of
from nbflow.running.drive import shapes
from nbflow.running.harvest import harvested
from nbflow.store.kept import Kept, KeptSpan
from nbflow.worker.effect import receipt_of

KEPT = Kept("", "json", 1, b"1")
FILE = Kept("ab" * 32, "pandas", 10)
DONE, FAILED, SKIPPED = Status.COMPLETED, Status.FAILED, Status.SKIPPED


@step
def load(x=1):
    return x


@step
def clean(x):
    return x


@step
def total(x):
    return x


@step(effect=True)
def charge(x):
    return x


def after(flow, *events):
    topology = flow.topology
    state = RunState.planned("r", "flow", shapes(topology), 0.0).apply(events)
    return topology, state


def completed(name, kept=KEPT):
    return Event(name, DONE, 1.0, seconds=1.0, kept=kept)


def actions(flow, *events, **options):
    return {d.step: d.action for d in decided(*after(flow, *events), **options)}


def reasons(flow, *events, **options):
    return {d.step: d.reason for d in decided(*after(flow, *events), **options)}


def test_what_has_completed_is_reused_and_the_rest_runs():
    flow = load >> clean >> total
    assert actions(flow, completed("load")) == {"load": "reuse", "clean": "run", "total": "run"}
    assert reasons(flow, completed("load")) == {
        "load": "it had completed",
        "clean": "it had not run",
        "total": "it had not run",
    }


def test_a_result_that_was_not_kept_is_computed_again_only_where_it_is_needed():
    flow = load >> clean >> total
    some = [completed("load", None), completed("clean", None)]
    assert actions(flow, *some) == {"load": "run", "clean": "run", "total": "run"}
    kept = [completed("load", None), completed("clean")]
    assert actions(flow, *kept) == {"load": "reuse", "clean": "reuse", "total": "run"}
    assert reasons(flow, *kept)["load"] == "it had completed; its result is not needed"


def test_a_file_that_is_gone_is_as_good_as_no_result():
    flow = load >> clean
    events = [completed("load", FILE)]
    assert actions(flow, *events, is_there=lambda kept: True)["load"] == "reuse"
    assert actions(flow, *events, is_there=lambda kept: False)["load"] == "run"
    assert "missing or damaged" in reasons(flow, *events, is_there=lambda kept: False)["load"]


def test_nobody_looks_for_a_file_that_is_not_needed():
    def look(kept):
        raise AssertionError("it was looked for")

    flow = load >> clean >> total
    decided(*after(flow, completed("load", FILE), completed("clean")), is_there=look)


def test_what_failed_runs_again_and_so_does_what_was_skipped_for_it():
    failed = Event("clean", FAILED, 2.0, error=recorded(ValueError("no")))
    skipped = Event("total", SKIPPED, 2.0, reason="clean failed")
    found = reasons(load >> clean >> total, completed("load"), failed, skipped)
    assert found["clean"] == "it had failed"
    assert found["total"] == "it was skipped: clean failed"


def test_a_skip_by_choice_stays():
    skipped = Event("clean", SKIPPED, 2.0, reason="is_big was False", chosen=True)
    assert actions(load >> clean >> total, completed("load"), skipped)["clean"] == "keep"


def test_a_recorded_decision_is_kept():
    def is_big(x):
        return x > 10

    flow = load >> branch(is_big, clean, total)
    events = [
        completed("load"),
        completed("is_big"),
        Event("clean", SKIPPED, 2.0, reason="is_big was False", chosen=True),
    ]
    assert actions(flow, *events) == {
        "load": "reuse",
        "is_big": "reuse",
        "clean": "keep",
        "total": "run",
    }


def test_a_changed_step_runs_again_with_all_that_follows_it():
    flow = load >> clean >> total
    events = [completed("load"), completed("clean"), completed("total")]
    found = decided(*after(flow, *events), {"clean": "its code changed"})
    assert [d.action for d in found] == ["reuse", "run", "run"]
    assert [d.reason for d in found[1:]] == ["its code changed", "clean runs again"]


def test_an_effect_is_not_repeated_for_changed_code():
    flow = load >> charge >> total
    events = [completed("load"), completed("charge")]
    found = {d.step: d for d in decided(*after(flow, *events), {"charge": "its code changed"})}
    assert found["charge"].action == "reuse"
    assert found["charge"].note == "its code changed, but it has an effect and is not repeated"
    assert found["total"].action == "run"
    # Nor because what it was computed from runs again.
    found = {d.step: d for d in decided(*after(flow, *events), {"load": "its code changed"})}
    assert (found["load"].action, found["charge"].action) == ("run", "reuse")


def test_what_is_in_doubt_is_named():
    doubt = Event("charge", Status.RUNNING, 2.0, doubts={None: "its worker died"})
    found = reasons(load >> charge, completed("load"), doubt)
    assert found["charge"] == "it is in doubt: its worker died"


# Elements


def records(start, *statuses, kept=True, **more):
    stop = start + len(statuses)
    where = (KeptSpan(start, stop, KEPT, start),) if kept else ()
    return ElementRecords(start, statuses, (0.1,) * len(statuses), kept=where, **more)


def of_elements(name, part):
    return Event(name, DONE, 2.0, seconds=0.1, elements=part)


def test_only_the_elements_run_that_had_not_ended():
    flow = load.map([1, 2, 3, 4]) >> total
    error = {2: recorded(ValueError("no"))}
    part = records(1, DONE, FAILED, errors=error)
    found = {d.step: d for d in decided(*after(flow, of_elements("load", part)))}
    assert found["load"].spans == ((0, 1), (2, 4))
    assert found["load"].reason == "3 of 4 elements had not ended well"
    assert resumed(list(found.values())).again == {"load": ((0, 1), (2, 4)), "total": None}


def test_the_steps_of_one_map_are_looked_at_element_by_element():
    flow = (load >> clean).map([1, 2, 3]) >> total
    events = [
        of_elements("load", records(0, DONE, DONE, DONE)),
        of_elements("clean", records(0, DONE)),
    ]
    found = {d.step: d for d in decided(*after(flow, *events))}
    assert found["load"].action == "reuse"
    assert found["clean"].spans == ((1, 3),)
    # Of an earlier step, what was not kept and is needed for those elements.
    events[0] = of_elements("load", records(0, DONE, DONE, DONE, kept=False))
    found = {d.step: d for d in decided(*after(flow, *events))}
    assert found["load"].spans == ((1, 3),)
    assert found["load"].reason == "2 results were not kept and are needed"


def test_elements_have_other_numbers_if_what_they_go_over_is_made_anew():
    flow = load >> clean.map()
    part = Event("clean", DONE, 2.0, seconds=0.1, total=3, elements=records(0, DONE, DONE))
    kept = {d.step: d for d in decided(*after(flow, completed("load"), part))}
    assert (kept["load"].action, kept["clean"].spans) == ("reuse", ((2, 3),))
    lost = {d.step: d for d in decided(*after(flow, completed("load", None), part))}
    assert (lost["load"].action, lost["clean"].spans) == ("run", None)
    assert "what it goes over was not kept" in lost["clean"].reason


def test_what_was_put_aside_stays_aside():
    flow = load.map([1, 2], on_error="collect") >> total
    part = records(
        0,
        DONE,
        FAILED,
        errors={1: recorded(ValueError("no"))},
        letters={1: DeadLetter(None, "2")},
    )
    assert actions(flow, of_elements("load", part)) == {"load": "reuse", "total": "run"}


def test_a_map_over_nothing_is_done():
    flow = load >> clean.map() >> total
    part = Event("clean", DONE, 2.0, seconds=0.0, total=0, elements=ElementRecords(0, (), ()))
    found = actions(flow, completed("load"), part)
    assert found == {"load": "reuse", "clean": "reuse", "total": "run"}


# The fold over what is resumed, and what is remembered of it


def test_the_fold_begins_anew_what_runs_again():
    flow = load >> clean >> total
    failed = Event("clean", FAILED, 2.0, 3, error=recorded(ValueError("no")))
    topology, state = after(flow, completed("load"), failed, Event("total", SKIPPED, 2.0))
    assert state.status == "failed"
    state = state.apply([Event("", Status.RUNNING, 5.0, turn=resumed(decided(topology, state)))])
    statuses = {name: str(each.status) for name, each in state.steps.items()}
    assert state.status == "running"
    assert statuses == {"load": "reused", "clean": "pending", "total": "pending"}
    # Attempts are counted on.
    assert state.steps["clean"].attempts == 3
    state = state.apply([Event("clean", DONE, 6.0, 4, seconds=0.1), completed("total")])
    assert (state.status, state.steps["clean"].attempts) == ("completed", 4)


def test_the_fold_keeps_the_elements_that_are_reused():
    flow = load.map([1, 2, 3])
    part = records(0, DONE, FAILED, DONE, errors={1: recorded(ValueError("no"))})
    topology, state = after(flow, of_elements("load", part))
    assert state.status == "failed"
    state = state.apply([Event("", Status.RUNNING, 5.0, turn=resumed(decided(topology, state)))])
    assert (state.steps["load"].done, state.status) == (2, "running")
    known = recollected(state.steps["load"])
    assert [known.element(n) for n in range(3)] == [Held(KEPT, 0), None, Held(KEPT, 2)]
    state = state.apply([of_elements("load", records(1, DONE))])
    assert state.status == "completed"


def test_what_is_remembered_of_a_step():
    _, state = after(load >> clean, completed("load", None))
    assert recollected(state.steps["load"]).value == GONE
    assert recollected(state.steps["load"], gone=False) is None
    assert recollected(state.steps["clean"]) is None


def test_elements_without_a_value_are_remembered_with_the_reason():
    flow = load.map([1, 2, 3], on_error="collect")
    part = records(
        0,
        FAILED,
        SKIPPED,
        DONE,
        errors={0: recorded(ValueError("no"))},
        letters={0: DeadLetter(None, "1")},
        reasons={1: "is_big was False"},
        spared=frozenset({1}),
    )
    _, state = after(flow, of_elements("load", part))
    known = recollected(state.steps["load"])
    assert (known.element(0).collected, known.element(1).collected) == (True, False)
    assert known.element(1).reason == "is_big was False"
    assert known.covers(0, 3)
    assert not known.covers(0, 4)
    assert known.total == 3


def test_a_list_that_was_kept_as_one_is_read_once():
    read = []

    def load_kept(kept):
        read.append(kept)
        return ["a", "b", "c"]

    shelf = Shelf(load_kept)
    assert shelf.all_opened([Held(FILE, 2), "plain", Held(FILE, 0)]) == ["c", "plain", "a"]
    assert len(read) == 1


def test_what_was_not_kept_says_so_when_it_is_read():
    with pytest.raises(RuntimeError, match="was not kept"):
        Shelf(lambda kept: None).opened(GONE)


def test_what_stands_in_the_place_of_an_element_is_not_its_value():
    flow = load.map([1, 2, 3])
    error = {1: recorded(ValueError("no"))}
    part = records(0, DONE, FAILED, DONE, errors=error)
    topology, state = after(flow, of_elements("load", part))
    state = state.apply([Event("", Status.RUNNING, 5.0, turn=resumed(decided(topology, state)))])
    again = records(1, DONE, kept=False)
    state = state.apply([of_elements("load", again)])
    known = recollected(state.steps["load"])
    assert [known.element(n) for n in range(3)] == [Held(KEPT, 0), GONE, Held(KEPT, 2)]
    assert not recollected(state.steps["load"], gone=False).covers(0, 3)


def test_a_decision_is_kept_though_its_code_changed():
    def is_big(x):
        return x > 10

    flow = load >> branch(is_big, clean, total)
    events = [
        completed("load"),
        completed("is_big"),
        Event("clean", SKIPPED, 2.0, reason="is_big was False", chosen=True),
    ]
    found = {d.step: d for d in decided(*after(flow, *events), {"is_big": "its code changed"})}
    assert found["is_big"].action == "reuse"
    assert found["is_big"].note == "its code changed, but what it has decided is kept"
    assert (found["clean"].action, found["total"].action) == ("keep", "run")


def test_what_only_a_receipt_tells_of_an_element_is_known_by_its_name():
    flow = ["eu", "us"] >> charge.map(key=str)
    told = Event("charge", Status.COMPLETED, 1.0, element=1, labels={1: "us"}, kept=KEPT)

    _, state = after(flow)
    [event] = harvested([receipt_of(1, told)], state)
    step = state.apply([event]).steps["charge"]

    assert step.called(1) == "charge[us]"
    assert number_of(step, "us") == 1
