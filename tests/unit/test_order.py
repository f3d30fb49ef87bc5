"""Orders and envelopes: what one Dask task is told, and what it answers."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest

from nbflow import TransferError, group, param, step
from nbflow.algebra.absence import Absent
from nbflow.algebra.expression import Const
from nbflow.planning.order import Order, Ref, Shared
from nbflow.planning.orders import LARGE, Orders
from nbflow.planning.plan import Plan
from nbflow.worker.envelope import Envelope, Results


@step
def one(x: Any = 0, y: Any = 0) -> Any:
    return x


def orders(flow: Any, **params: Any) -> tuple[Orders, list[tuple[Order, tuple[str, ...]]]]:
    topology = flow._flow().topology
    plan = Plan.of(topology, 1)
    writer = Orders(topology, plan, params, "topic", "nonce", "run", ("host", 1))
    parcels = [writer.parcel(number) for number in range(len(plan.segments))]
    return writer, [(parcel.open(), shared) for parcel, shared in parcels]


class Unreadable:
    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise RuntimeError("will not be read")


def test_an_order_holds_the_calls_of_its_segment() -> None:
    _, [(order, shared)] = orders(one.s(1) >> one.s(5))
    assert shared == ()
    assert [work.name for work in order.works] == ["one", "one_2"]
    # One function, whatever the number of calls.
    assert len(order.functions) == 1
    first, second = order.works
    assert isinstance(first.args[0], Const)
    assert isinstance(second.args[0], Ref)
    assert second.args[0].position == first.position
    assert second.own == (1, frozenset())


def test_parameters_travel_as_values() -> None:
    _, [(order, _)] = orders(param("p") >> one, p=7)
    assert order.works[0].args[0].value == 7


def test_a_large_constant_is_packed_once_and_named() -> None:
    data = bytes(LARGE + 1)
    writer, found = orders(group(one.s(data), step(len).s(data), one.s(data[:10])))
    assert len(writer.shared) == 1
    names = {name for _, shared in found for name in shared}
    assert names == set(writer.shared)
    shared = [
        work.args[0].key
        for order, _ in found
        for work in order.works
        if isinstance(work.args[0], Shared)
    ]
    assert set(shared) == names
    assert len(shared) == 2


def test_what_cannot_be_packed_is_blamed_on_its_step() -> None:
    lock = threading.Lock()
    with pytest.raises(TransferError, match="argument 1 of step 'bad', a lock"):
        orders(group(one.s(1), one.named("bad").s(lock)))
    with pytest.raises(TransferError, match="argument 'y' of step 'bad', a lock"):
        orders(one.named("bad").s(1, y=lock))
    with pytest.raises(TransferError, match="the function of step 'guarded'"):
        orders(step(lambda: lock).named("guarded"))


def test_a_batch_holds_its_own_items_only() -> None:
    _, found = orders(one.map([one.named("a").s(1), one.named("b").s(2)], key=["x", "y"]))
    mapped = [order for order, _ in found if order.loop is not None]
    assert [(order.start, order.stop) for order in mapped] == [(0, 1), (1, 2)]
    assert [len(order.loop.axis.items.members) for order in mapped] == [1, 1]
    assert [order.loop.axis.label for order in mapped] == [("x",), ("y",)]


def test_an_envelope_is_opened_when_a_value_is_read() -> None:
    failure = Absent("x", "x failed", failed=True)
    sent = pickle.dumps(Envelope({1: Unreadable()}, None, {2: failure}, nbytes=10))
    envelope = pickle.loads(sent)
    assert envelope.positions == (1,)
    assert (envelope.absent, envelope.nbytes) == ({2: failure}, 10)
    # What was not opened travels on as it is.
    again = pickle.loads(pickle.dumps(envelope))
    with pytest.raises(RuntimeError, match="will not be read"):
        _ = again.values
    good = pickle.loads(pickle.dumps(Envelope({1: "value"})))
    assert good.values == {1: "value"}


def test_results_gather_batches_in_their_order_whatever_came_first() -> None:
    late = Envelope({1: ["c", "f"]}, ((2, 3), (5, 6)))
    early = Envelope({1: ["a", "b", "d", "e"]}, ((0, 2), (3, 5)))
    results = Results([late, early, Envelope({4: "single"})])
    assert results[1] == ["a", "b", "c", "d", "e", "f"]
    assert results[4] == "single"
    with pytest.raises(KeyError):
        results[9]


def test_an_element_that_was_computed_again_has_its_later_value() -> None:
    hole = Absent("m[1]", "m[1] failed", collected=True)
    before = Envelope({1: ["a", hole, "c"]}, ((0, 3),), None, frozenset({1}))
    assert Results([before])[1] == ["a", "c"]
    assert Results([before, Envelope({1: ["b"]}, ((1, 2),))])[1] == ["a", "b", "c"]


def test_one_failed_element_is_the_failure_of_the_list() -> None:
    bad = Absent("m[1]", "m[1] failed", failed=True)
    results = Results([Envelope({1: ["a", bad]}, ((0, 2),), None, frozenset({1}))])
    assert results[1] == bad
    assert results.elements(1) == ["a", bad]
    assert not results.complete


def test_one_element_can_be_taken_out_of_an_envelope() -> None:
    envelope = Envelope({1: ["a", "b", "c"]}, ((0, 1), (5, 7)))
    assert envelope.element(1, 6).values == {1: ["c"]}
    assert envelope.element(1, 6).spans == ((6, 7),)
    assert envelope.element(1, 3).positions == ()


def test_one_envelope_that_cannot_be_read_spoils_no_other() -> None:
    bad = pickle.loads(pickle.dumps(Envelope({1: Unreadable()})))
    results = Results([bad, Envelope({2: "good"}), bad])
    assert results[2] == "good"
    with pytest.raises(RuntimeError):
        results[1]


def test_the_first_failure_of_a_position_counts() -> None:
    first, second = (Absent(each, "", failed=True) for each in ("m[0]", "m[7]"))
    results = Results([Envelope(absent={1: first}), Envelope(absent={1: second})])
    assert results[1] is first
