"""Runs that were rolled back, interrupted, in doubt or resumed, as a person sees them."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest
from gallery import ERROR, HOSTILE, chain_of, event, merge, named

from nbflow import group, step
from nbflow.algebra.flow import Flow
from nbflow.notebook.draw import digraph
from nbflow.notebook.mermaid import mermaid
from nbflow.notebook.outlook import outlook
from nbflow.notebook.report import report
from nbflow.notebook.text import listing, tree
from nbflow.record.events import ElementRecords, ErrorRecord, Event, Status
from nbflow.record.saga import rolling_back
from nbflow.record.state import RunState, said_of_doubts
from nbflow.record.summary import steps_table
from nbflow.record.turns import Resumed, RollingBack
from nbflow.running.drive import shapes
from nbflow.store.kept import Kept

BACK = re.compile(r'^\t(\w+) -> (\w+) \[.*label="? (\w*) "?.*constraint=false', re.MULTILINE)


def refund(receipt): ...


def release(goods): ...


validate, notify = map(named, ["validate", "notify"])
charge = named("charge").options(compensate=refund)
reserve = named("reserve").options(compensate=release)
orders = (validate.s(7) >> charge >> reserve >> notify).named("orders")

UNDO_ERROR = ErrorRecord("OSError", "the warehouse is closed", "Traceback:\n  in release\n")


def begun(flow):
    return RunState.planned("r-1a2b", flow.name, shapes(flow.topology), 1000.0)


def failed(flow=orders, culprit="notify"):
    """Fold a run in which all that comes before a step has completed."""
    names = list(flow.topology.names)
    before = names[: names.index(culprit)]
    ended = [event(name, Status.COMPLETED, 1001.0 + n) for n, name in enumerate(before)]
    return begun(flow).apply([*ended, event(culprit, Status.FAILED, 1090.0)])


def undoing(name, status=Status.COMPENSATED, element=None, at=1100.0):
    error = UNDO_ERROR if status is Status.FAILED else None
    log = f"undoing {name}\n"
    return Event(
        name, status, at, seconds=0.5, log=log, undo=True, error=error, element=element, attempt=2
    )


def rolled_back(flow=orders, culprit="notify", stuck=()):
    state = failed(flow, culprit)
    turn = rolling_back(flow.topology, state, Status.COMPENSATED)
    state = state.apply([Event("", Status.RUNNING, 1095.0, turn=turn)])
    return state.apply(
        [
            undoing(name, Status.FAILED if name in stuck else Status.COMPENSATED, number)
            for name, number in turn.entries
        ]
    )


def in_doubt(flow=orders, name="charge", why="it was begun at 14:03:07 by process 81 on lab"):
    state = begun(flow).apply([event("validate", Status.COMPLETED, 1001.0)])
    doubt = Event(name, Status.RUNNING, 1002.0, doubts={None: why})
    stop = Event("", Status.INTERRUPTED, 1003.0, reason=f"step {name!r} is in doubt: {why}")
    return state.apply([doubt, stop])


def line_of(text, name):
    return next(line for line in text.splitlines() if line.lstrip("├└│─ ").startswith(name))


# A flow


def test_a_step_that_can_be_undone_says_by_what() -> None:
    assert "undo: refund" in digraph(orders).source
    assert "charge (undo: refund)" in tree(orders)
    assert "undo#58; refund" in mermaid(orders)


def test_a_step_that_waits_says_how_long() -> None:
    assert "load (after 1 min 30 s)" in tree(3 >> named("load").options(delay=90))


def test_steps_that_are_undone_in_different_ways_are_not_stacked() -> None:
    pay = named("pay")
    both = [pay.options(compensate=each).s(n) for n in range(12) for each in (refund, release)]
    source = digraph(group(*both) >> merge).source
    assert source.count('label="pay × 12') == 2


# A rollback


def test_the_way_back_is_drawn_from_the_failure_to_what_was_done_first() -> None:
    source = digraph(orders, state=rolled_back()).source
    assert BACK.findall(source) == [("n3", "n2", "release"), ("n2", "n1", "refund")]
    assert "label=charge" not in source
    assert "↶ compensated" in source


def test_nothing_leads_back_in_a_run_that_was_not_rolled_back() -> None:
    assert BACK.findall(digraph(orders, state=failed()).source) == []


def test_what_could_not_be_undone_stands_out_and_the_others_go_on() -> None:
    state = rolled_back(stuck=["reserve"])
    source = digraph(orders, state=state).source
    assert [each[:2] for each in BACK.findall(source)] == [("n3", "n2"), ("n2", "n1")]
    assert "✗ not undone" in source
    text = tree(orders, state)
    assert "✗ not undone" in line_of(text, "reserve")
    assert "OSError: the warehouse is closed" in line_of(text, "reserve")
    assert "↶ compensated" in line_of(text, "charge")
    assert "undoing reserve failed, 1 of 2 undone; run.undo() tries again" in text.splitlines()[1]


def test_a_rollback_that_is_going_on_says_how_far_it_is() -> None:
    state = failed()
    turn = rolling_back(orders.topology, state, Status.COMPENSATED)
    state = state.apply([Event("", Status.RUNNING, 1095.0, turn=turn), undoing("reserve")])
    assert tree(orders, state).splitlines()[1] == "rolling back: 1 of 2 undone"
    assert [each[:2] for each in BACK.findall(digraph(orders, state=state).source)] == [
        ("n3", "n2")
    ]


def test_an_undoing_that_is_tried_again_is_seen() -> None:
    state = failed()
    turn = rolling_back(orders.topology, state, Status.COMPENSATED)
    again = Event("reserve", Status.RETRYING, 1096.0, undo=True, log="no answer\n")
    state = state.apply([Event("", Status.RUNNING, 1095.0, turn=turn), again])
    assert "↶ undoing" in line_of(tree(orders, state), "reserve")


def test_the_report_tells_the_order_the_attempts_and_the_logs_of_undoing() -> None:
    html = report(orders, rolled_back()).html
    rows = re.findall(r"<tr>(.*?)</tr>", html.split("undone</th>")[1].split("</table>")[0])
    assert [re.sub("<.*?>", " ", row).split()[:3] for row in rows] == [
        ["1", "reserve", "release"],
        ["2", "charge", "refund"],
    ]
    assert "undoing charge by refund:" in html
    assert "undoing reserve\n" in html


def test_the_report_of_a_stuck_rollback_opens_what_was_not_undone_first() -> None:
    html = report(orders, rolled_back(stuck=["reserve"])).html
    assert html.index("✗ not undone</span> <b>reserve</b>") < html.index("</span> <b>notify</b>")
    assert "in release" in html


def test_the_text_says_in_which_order_things_were_undone() -> None:
    last = tree(orders, rolled_back()).splitlines()[-1]
    assert last == "undone, in this order: reserve by release, charge by refund"


def test_elements_that_were_undone_are_counted_and_named() -> None:
    flow = ([1, 2, 3] >> charge.map(key="order-{}".format) >> notify).named("orders")
    labels = {n: f"order-{n + 1}" for n in range(3)}
    records = ElementRecords(0, (Status.COMPLETED,) * 3, (0.1,) * 3, labels=labels)
    told = Event("charge", Status.RUNNING, 1001.0, seconds=0.1, elements=records)
    state = begun(flow).apply([told, event("notify", Status.FAILED, 1002.0)])
    turn = rolling_back(flow.topology, state, Status.COMPENSATED)
    state = state.apply(
        [Event("", Status.RUNNING, 1003.0, turn=turn), undoing("charge", element=2)]
    )
    assert "↶ 1 undone" in line_of(tree(flow, state), "charge")
    state = state.apply([undoing("charge", Status.FAILED, 1), undoing("charge", element=0)])
    assert "✗ 1 not undone, 2 undone" in line_of(tree(flow, state), "charge")
    assert "charge[order-3] by refund, charge[order-1] by refund" in tree(flow, state)


def test_a_stack_is_not_crossed_by_the_ways_between_its_members() -> None:
    arms = [charge.s(n) >> reserve.s() for n in range(12)]
    flow = (group(*arms) >> notify).named("many")
    found = [each[:2] for each in BACK.findall(digraph(flow, state=rolled_back(flow)).source)]
    assert len(found) == 2
    assert found[0][0] == "n24"
    assert found[0][1] == found[1][0]


def test_a_long_rollback_does_not_bury_the_picture() -> None:
    flow = validate.s(1)
    for number in range(100):
        flow = flow >> named(f"pay {number}").options(compensate=refund)
    flow = flow >> notify
    assert 0 < len(BACK.findall(digraph(flow, state=rolled_back(flow)).source)) <= 40


def test_a_focused_picture_of_a_rollback_can_be_drawn() -> None:
    assert BACK.findall(digraph(orders, state=rolled_back(), focus="validate", hops=1).source) == []


# What is in doubt, or was interrupted


def test_a_step_in_doubt_is_neither_running_nor_failed() -> None:
    state = in_doubt()
    source = digraph(orders, state=state).source
    assert "? in doubt" in source
    assert "running" not in source
    assert "? in doubt, it was begun at 14:03:07" in line_of(tree(orders, state), "charge")


def test_what_is_in_doubt_comes_first_in_the_report() -> None:
    state = in_doubt()
    html = report(orders, state).html
    rows = re.findall(r"<tr><td.*?</tr>", html.split("</table>")[0])
    assert "? in doubt" in rows[0]
    assert (
        html.index("is in doubt") < html.index("<img") < html.index("? in doubt</span> <b>charge")
    )
    assert tree(orders, state).splitlines()[0].startswith("! orders: interrupted")


def test_elements_in_doubt_are_counted_and_named() -> None:
    flow = ([1, 2, 3] >> charge.map() >> notify).named("orders")
    doubts = {2: "it was begun", 0: "it was begun too"}
    told = Event("charge", Status.RUNNING, 1001.0, doubts=doubts)
    state = begun(flow).apply([told, Event("", Status.INTERRUPTED, 1002.0, reason="doubt")])
    assert "? 2 of 3 in doubt, charge[0]: it was begun too" in tree(flow, state)
    assert "charge[0]: it was begun too\ncharge[2]: it was begun" in report(flow, state).html


def keyed_doubts(*numbers: int) -> tuple[Flow, RunState]:
    """Fold a run of a map with keys of which some elements are in doubt."""
    flow = (["eu", "us", "asia"] >> charge.map(key=str) >> notify).named("orders")
    labels = {0: "eu", 1: "us", 2: "asia"}
    told = [
        Event("charge", Status.RUNNING, 1001.0, doubts={n: "it was begun"}, labels={n: labels[n]})
        for n in numbers
    ]
    state = begun(flow).apply(told)
    stop = Event("", Status.INTERRUPTED, 1002.0, reason=said_of_doubts(state.steps))
    return flow, state.apply([stop])


def test_elements_in_doubt_have_the_names_that_their_user_gave_them() -> None:
    flow, state = keyed_doubts(2, 0)
    text, html = tree(flow, state), report(flow, state).html
    assert text.splitlines()[1].startswith(
        "step 'charge[eu]' is in doubt: it was begun (and so is charge[asia]); find out"
    )
    assert "run.resolve('charge[eu]', completed=value)" in text
    assert "? 2 of 3 in doubt, charge[eu]: it was begun" in line_of(text, "charge")
    assert "charge[eu]: it was begun\ncharge[asia]: it was begun" in html
    assert "charge[0]" not in text + html
    assert "charge[2]" not in text + html
    assert steps_table(state).loc["charge", "reason"] == "charge[eu] is in doubt: it was begun"


def test_many_elements_in_doubt_are_not_all_named() -> None:
    doubts = dict.fromkeys(range(1_000), "it was begun")
    labels = {n: f"order {n}" for n in doubts}
    flow = (range(1_000) >> charge.map(key=str) >> notify).named("orders")
    told = Event("charge", Status.RUNNING, 1001.0, doubts=doubts, labels=labels)
    said = said_of_doubts(begun(flow).apply([told]).steps)
    assert "(and so are charge[order 1], charge[order 2]" in said
    assert "charge[order 4] and 995 more)" in said


def test_an_element_that_could_not_be_undone_is_named() -> None:
    flow, state = keyed_doubts(1)
    turn = RollingBack((("charge", 1),), "compensated")
    state = state.apply([Event("", Status.RUNNING, 1095.0, turn=turn)])
    state = state.apply([undoing("charge", Status.FAILED, 1)])
    assert "undoing charge[us] failed" in tree(flow, state)


def test_how_much_of_a_map_has_ended_is_in_the_table() -> None:
    flow = ([1, 2, 3] >> charge.map() >> notify).named("orders")
    part = ElementRecords(0, (Status.COMPLETED,) * 2, (0.1,) * 2)
    told = Event("charge", Status.RUNNING, 1001.0, elements=part)
    stop = Event("", Status.INTERRUPTED, 1002.0, reason="killed")
    assert ">2 of 3 ended<" in report(flow, begun(flow).apply([told, stop])).html
    assert "ended<" not in report(orders, failed()).html


def test_an_interrupted_run_does_not_look_as_if_it_ran() -> None:
    events = [event("validate", Status.RUNNING, 1001.0), event("charge", Status.RETRYING, 1001.0)]
    state = begun(orders).apply([*events, Event("", Status.INTERRUPTED, 1002.0, reason="killed")])
    shown = [digraph(orders, state=state).source, tree(orders, state), report(orders, state).html]
    assert all("! interrupted" in each for each in shown)
    assert not any(word in each for each in shown for word in ("running", "retrying"))
    assert tree(orders, state).splitlines()[1] == "killed; run.resume() goes on"
    # The state itself is what the run says.
    assert state.steps["validate"].status is Status.RUNNING


def test_advice_that_the_reason_gives_is_not_given_twice() -> None:
    stop = Event("", Status.INTERRUPTED, 1002.0, reason="lost; call run.resume()")
    text = tree(orders, begun(orders).apply([stop]))
    assert text.count("run.resume()") == 1


def test_a_rollback_that_was_interrupted_says_that_it_goes_on() -> None:
    state = failed()
    turn = rolling_back(orders.topology, state, Status.COMPENSATED)
    stop = Event("", Status.INTERRUPTED, 1099.0, reason="the kernel is gone")
    state = state.apply([Event("", Status.RUNNING, 1095.0, turn=turn), undoing("reserve"), stop])
    assert tree(orders, state).splitlines()[1].endswith("run.resume() goes on undoing")


# What waits, and what was taken over


def test_a_step_that_waits_for_its_time_says_when_it_begins() -> None:
    at = time.time() + 185
    told = Event("validate", Status.PENDING, 1001.0, 0, reason="delay", retry_at=at)
    state = begun(orders).apply([told])
    said = f"begins {time.strftime('%H:%M:%S', time.localtime(at))}, in 3 min"
    assert f"○ {said}" in digraph(orders, state=state).source
    assert line_of(tree(orders, state), "validate").endswith(f"○ pending, {said}")
    assert f">{said}<" in report(orders, state).html
    assert "delay" not in tree(orders, state) + report(orders, state).html

    assert line_of(tree(orders, state, deterministic=True), "validate").endswith("begins later")
    assert "begins later" in report(orders, state, deterministic=True).html


def pending(begins: float) -> RunState:
    return replace(begun(orders), status=Status.PENDING, ended=None, begins=begins)


def test_a_run_that_waits_for_its_time_says_when_it_begins() -> None:
    at = time.time() + 185
    said = f"begins {time.strftime('%H:%M:%S', time.localtime(at))}, in 3 min"
    assert tree(orders, pending(at)).splitlines()[:2] == [
        "○ orders: pending, 4 steps, run r-1a2b (4 pending)",
        said,
    ]
    assert listing(pending(at)).splitlines()[1] == said
    assert f">{said}<" in report(orders, pending(at)).html


def test_a_run_that_waits_says_no_time_where_outputs_must_not_differ() -> None:
    text = tree(orders, pending(time.time() + 185), deterministic=True)
    assert text.splitlines()[:2] == ["○ orders: pending, 4 steps (4 pending)", "begins later"]


def test_a_run_that_nobody_starts_says_who_does() -> None:
    late = outlook(pending(time.time() - 300), deterministic=False)
    assert late.startswith("was to begin ")
    assert late.endswith(
        "5 min ago, and no process has started it; run.wait() does, or nbflow tick"
    )
    assert "tick" not in outlook(pending(time.time() - 20), deterministic=False)


def test_a_run_that_has_begun_or_was_cancelled_does_not_say_when_it_begins() -> None:
    waited = pending(time.time() + 185)
    for event_ in (Event("", Status.RUNNING, 1.0), Event("", Status.CANCELLED, 1.0)):
        state = replace(waited.apply([event_]), status=event_.status)
        assert "begins" not in tree(orders, state)


def test_results_that_were_taken_over_are_told_from_those_that_were_computed() -> None:
    state = failed().apply([Event("", Status.RUNNING, 1091.0)])
    turn = Resumed(frozenset(["validate", "charge", "reserve"]), {"notify": None})
    state = state.apply([Event("", Status.RUNNING, 1092.0, turn=turn)])
    state = state.apply([event("notify", Status.COMPLETED, 1093.0)])
    assert "(3 reused, 1 completed)" in tree(orders, state)
    assert digraph(orders, state=state).source.count("≡ reused") == 3
    assert "3 reused" in report(orders, state).html


def test_a_kept_result_says_how_large_it_is_there() -> None:
    told = Event(
        "validate", Status.COMPLETED, 1001.0, preview=event("a", Status.COMPLETED, 1.0).preview,
        kept=Kept("ab" * 32, "frame", 1_200_000),
    )  # fmt: skip
    state = begun(orders).apply([told])
    assert "kept, 1.2 MB" in report(orders, state).html
    assert "kept" not in report(orders, state, deterministic=True).html


# Always


@pytest.mark.parametrize(
    "state", [rolled_back(), rolled_back(stuck=["charge"]), in_doubt(), failed()]
)
def test_a_deterministic_report_has_neither_times_nor_processes(state: RunState) -> None:
    html = report(orders, state, deterministic=True).html
    text = report(orders, state, deterministic=True).text
    assert not re.search(r"\d\d:\d\d:\d\d|process \d| ms\b|tcp://", html + text)
    assert html == report(orders, state, deterministic=True).html


def test_hostile_names_and_words_of_undoing_are_only_text() -> None:
    def undo(receipt): ...

    for text in HOSTILE:
        if not text.strip():
            continue
        undo.__name__ = text
        flow = (named(text).options(compensate=undo) >> merge).ready()
        [name, last] = flow.topology.names
        state = begun(flow).apply(
            [event(name, Status.COMPLETED, 1001.0), event(last, Status.FAILED, 1002.0)]
        )
        turn = RollingBack(((name, None),), "compensated")
        bad = ErrorRecord(text, text, text)
        state = state.apply([Event("", Status.RUNNING, 1003.0, turn=turn)])
        state = state.apply([Event(name, Status.FAILED, 1.0, undo=True, error=bad, log=text)])
        made = report(flow, state)
        assert made.picture is not None
        assert made.picture.svg
        assert not re.search(r"<(script|b onclick|img src=x)", made.html)
        doubt = Event(name, Status.RUNNING, 1.0, doubts={None: text})
        stop = Event("", Status.INTERRUPTED, 2.0, reason=text)
        made = report(flow, begun(flow).apply([doubt, stop]))
        assert not re.search(r"<(script|b onclick|img src=x)", made.html)
        assert all(line.replace("\u200d", "").isprintable() for line in made.text.splitlines())


def test_a_rollback_without_its_flow_is_listed() -> None:
    made = report(None, rolled_back(), deterministic=True)
    assert made.text.splitlines()[-1] == "undone, in this order: reserve, charge"
    assert "reserve" in made.html


def test_a_doubt_in_a_long_chain_stays_in_view() -> None:
    flow = chain_of(300)
    doubt = Event("clean_150", Status.RUNNING, 1.0, doubts={None: "begun"})
    assert "clean_150\\n? in doubt" in digraph(flow, state=begun(flow).apply([doubt])).source


def test_a_map_whose_good_elements_were_undone_still_shows_its_error() -> None:
    pay = step(lambda n: n, name="pay").options(compensate=refund)
    flow = [1, 2] >> pay.map()
    records = ElementRecords(0, (Status.COMPLETED, Status.FAILED), (0.1, 0.1), errors={1: ERROR})
    state = begun(flow).apply([Event("pay", Status.RUNNING, 1001.0, elements=records)])
    turn = rolling_back(flow.topology, state, Status.COMPENSATED)
    state = state.apply([Event("", Status.RUNNING, 1003.0, turn=turn), undoing("pay", element=0)])
    html = report(flow, state).html
    assert "line 3, in clean" in html
    assert html.count('open="open"') == 1
