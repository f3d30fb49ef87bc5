"""The desk on the scheduler: spans for lanes, locks in line, and slots given up while waiting."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import dask
import psutil
import pytest
from distributed import Client, LocalCluster
from hypothesis import given
from hypothesis import strategies as st

from nbflow.errors import ClusterError, RunCancelledError, RunError
from nbflow.worker import claim, desk, slot
from nbflow.worker.desk import Line, Spans

pytestmark = [pytest.mark.timeout(120)]


# What is decided, without a cluster.


def test_spans_are_large_at_first_and_small_at_last() -> None:
    spans = Spans(20)
    sizes = []
    while (span := spans.take(0, "a", lanes=2)) is not None:
        sizes.append(span[1] - span[0])
    assert sizes == [5, 4, 3, 2, 2, 1, 1, 1, 1]
    assert spans.take(0, "a", lanes=2) is None


def test_no_more_is_given_than_wanted() -> None:
    spans = Spans(20)
    assert spans.take(0, "a", lanes=1, wanted=3) == (0, 3)
    assert spans.take(0, "a", lanes=1, wanted=0) == (3, 4)
    assert spans.take(0, "a", lanes=1, wanted=100) == (4, 12)


def test_an_empty_queue_gives_nothing() -> None:
    assert Spans(0).take(0, "a", lanes=3) is None


def test_a_lane_computed_again_is_given_what_it_had_and_then_more() -> None:
    spans = Spans(16)
    had = [spans.take(0, "a", lanes=2), spans.take(1, "b", lanes=2), spans.take(0, "a", lanes=2)]
    assert had == [(0, 4), (4, 7), (7, 10)]
    assert spans.take(0, "c", lanes=2) == (0, 4)
    assert spans.take(0, "a", lanes=2) is None
    assert spans.take(0, "c", lanes=2) == (7, 10)
    assert spans.take(0, "c", lanes=2) == (10, 12)
    assert spans.take(0, "a", lanes=2) is None
    # A third incarnation; adjacent spans are one, unless less is wanted.
    assert spans.take(0, "d", lanes=2, wanted=4) == (0, 4)
    assert spans.take(0, "d", lanes=2, wanted=4) == (7, 11)
    assert spans.take(0, "d", lanes=2, wanted=4) == (11, 12)


@given(
    total=st.integers(0, 60),
    lanes=st.integers(1, 5),
    wanted=st.none() | st.integers(1, 7),
    acts=st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(["take", "take", "take", "again", "late"])),
        max_size=60,
    ),
)
def test_newest_incarnations_cover_each_number_once(
    total: int, lanes: int, wanted: int | None, acts: list[tuple[int, str]]
) -> None:
    spans = Spans(total)
    tokens: list[list[str]] = [[] for _ in range(lanes)]
    taken: dict[str, list[int]] = {}

    def take(lane: int, token: str) -> bool:
        span = spans.take(lane, token, lanes, wanted)
        if span is not None:
            assert span[0] < span[1]
            assert wanted is None or span[1] - span[0] <= wanted
            taken.setdefault(token, []).extend(range(*span))
        return span is not None

    def start(lane: int) -> None:
        tokens[lane].append(f"{lane}-{len(tokens[lane])}")

    for number, act in acts:
        lane = number % lanes
        if act == "late":
            assert not any(take(lane, old) for old in tokens[lane][:-1])
            continue
        if act == "again" or not tokens[lane]:
            start(lane)
        take(lane, tokens[lane][-1])
    for lane in range(lanes):
        if not tokens[lane]:
            start(lane)
        while take(lane, tokens[lane][-1]):
            pass
    newest = sorted(n for each in tokens for n in taken.get(each[-1], []))
    assert newest == list(range(total))


@given(st.lists(st.tuples(st.sampled_from(["join", "leave", "die"]), st.integers(0, 5))))
def test_a_line_has_one_holder_and_keeps_its_order(acts: list[tuple[str, int]]) -> None:
    line, model = Line(), []
    for act, number in acts:
        token, worker = f"t{number}", f"w{number % 3}"
        before = model[0] if model else None
        if act == "join":
            model += [token] if token not in model else []
            assert line.join(token, worker) == (model[0] == token)
            continue
        model = [
            each
            for each in model
            if (each != token if act == "leave" else int(each[1:]) % 3 != number % 3)
        ]
        told = line.leave(token) if act == "leave" else line.leave_all(worker)
        now = model[0] if model else None
        assert line.holder == now
        assert told == (now if now != before else None)
        assert len(line) == len(model)


# On clusters. What tasks do is in functions within functions, which travel by value.


def wait_for(path: Path | str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not Path(path).exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.005)


def until(fact: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def ready(client: Client) -> Client:
    desk.install(client)
    return client


@pytest.fixture
def fragile() -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, set_as_default=False) as own,
    ):
        desk.install(own)
        yield own


@pytest.fixture
def strict() -> Iterator[Client]:
    """Give a cluster within this process that checks its state at each step."""
    with (
        dask.config.set(
            {"distributed.scheduler.validate": True, "distributed.worker.validate": True}
        ),
        LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            processes=False,
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, set_as_default=False) as own,
    ):
        desk.install(own)
        yield own


def plugin(client: Client) -> Any:
    return client.cluster.scheduler.plugins["nbflow-desk"]


def workers_of(client: Client) -> list[Any]:
    return list(client.cluster.workers.values())


def line_length(client: Client, lock: str) -> int:
    def count(dask_scheduler: Any) -> int:
        return len(dask_scheduler.plugins["nbflow-desk"]._lines.get(lock, ()))

    return client.run_on_scheduler(count)


def submit(client: Client, fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return client.submit(fn, *args, pure=False, **options)


def kill(pid: int) -> None:
    process = psutil.Process(pid)
    process.send_signal(signal.SIGKILL)
    process.wait(20)


# The plugin.


def test_installing_again_changes_nothing(strict: Client) -> None:
    first = plugin(strict)
    desk.install(strict)
    with Client(strict.cluster, set_as_default=False) as another:
        desk.install(another)
        assert plugin(another) is first


def test_a_client_that_finds_another_scheduler_installs_there(strict: Client) -> None:
    desk._installed[strict] = "another"
    desk.install(strict)
    assert desk._installed[strict] == strict.cluster.scheduler.id


class Unwanted(desk.Desk):
    def __reduce__(self) -> Any:
        return exec, ("raise ImportError('no nbflow here')",)


def test_a_scheduler_that_refuses_is_reported(
    strict: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "Desk", Unwanted)
    monkeypatch.setattr(desk, "_installed", {})
    with pytest.raises(
        ClusterError, match=r"refused the plugin 'nbflow-desk'.*no nbflow here.*caps, locks"
    ):
        desk.install(strict)


def test_the_plugin_of_another_nbflow_is_reported(
    strict: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "_PROTOCOL", 0)
    monkeypatch.setitem(strict.cluster.scheduler.handlers, "nbflow_desk", lambda: 1)
    monkeypatch.setattr(desk, "_installed", {})
    with pytest.raises(ClusterError, match="of another nbflow"):
        desk.install(strict)


def test_outside_of_a_task_there_is_no_desk() -> None:
    with pytest.raises(ClusterError, match="queue 'q' was asked for outside of a task"):
        claim.take("q", 0, "a", 3, 1)
    with pytest.raises(ClusterError, match="lock 'w'"), claim.holding("w"):
        pass


def test_a_scheduler_without_a_desk_is_reported_and_its_workers_live() -> None:
    def ask() -> Any:
        from nbflow.worker import claim, slot

        with slot.waiting():
            pass
        return claim.take("q", 0, "a", 3, 1)

    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as own,
    ):
        with pytest.raises(ClusterError, match="has no plugin 'nbflow-desk'"):
            submit(own, ask).result()
        desk.install(own)
        assert submit(own, ask).result() == (0, 2)


# Queues.


def lane(queue: str, number: int, total: int, lanes: int, wanted: int | None) -> Any:
    def work() -> list[tuple[int, int]]:
        from nbflow.worker import claim

        token, spans = uuid4().hex, []
        while (span := claim.take(queue, number, token, total, lanes, wanted)) is not None:
            spans.append(span)
        return spans

    return work


@pytest.mark.parametrize("wanted", [None, 1, 5])
def test_lanes_on_several_workers_cover_each_number_once(ready: Client, wanted: int | None) -> None:
    name = uuid4().hex
    lanes = [submit(ready, lane(name, number, 100, 4, wanted)) for number in range(4)]
    spans = [span for each in ready.gather(lanes) for span in each]
    assert sorted(n for span in spans for n in range(*span)) == list(range(100))


def test_another_total_is_reported_with_both(ready: Client) -> None:
    name = uuid4().hex
    submit(ready, lane(name, 0, 10, 1, None)).result()
    with pytest.raises(RunError, match="had 10 elements at first, and has 12 now"):
        submit(ready, lane(name, 0, 12, 1, None)).result()


def test_queues_that_are_forgotten_are_gone(ready: Client) -> None:
    run = uuid4().hex

    def names(dask_scheduler: Any) -> list[str]:
        return list(dask_scheduler.plugins["nbflow-desk"]._queues)

    for each in (f"{run}/a", f"{run}/b", f"other-{run}"):
        submit(ready, lane(each, 0, 10, 1, None)).result()
    desk.forget(ready, run)
    until(lambda: not any(each.startswith(run) for each in ready.run_on_scheduler(names)))
    assert f"other-{run}" in ready.run_on_scheduler(names)
    with pytest.raises(RunError, match="its run is over"):
        submit(ready, lane(f"{run}/a", 0, 10, 1, None)).result()


def test_forgetting_does_not_mind_a_lost_cluster() -> None:
    cluster = LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    )
    own = Client(cluster, set_as_default=False)
    cluster.close()
    desk.forget(own, "run")
    own.close()
    desk.forget(own, "run")


def test_a_lane_whose_worker_dies_is_given_its_spans_again(fragile: Client, tmp_path: Path) -> None:
    folder, name = str(tmp_path), uuid4().hex

    def work(number: int) -> list[int]:
        from nbflow.worker import claim

        token, numbers = uuid4().hex, []
        while (span := claim.take(name, number, token, 60, 2, 4)) is not None:
            numbers += range(*span)
            if number == 0 and len(numbers) > 8:
                Path(folder, f"pid-{os.getpid()}").touch()
                while not Path(folder, "leave").exists():
                    time.sleep(0.005)
        return numbers

    lanes = [submit(fragile, work, 0, retries=3)]
    until(lambda: list(tmp_path.glob("pid-*")))
    lanes.append(submit(fragile, work, 1, retries=3))
    [held] = tmp_path.glob("pid-*")
    kill(int(held.name.split("-")[1]))
    (tmp_path / "leave").touch()
    first, second = fragile.gather(lanes)
    assert sorted(first + second) == list(range(60))
    assert first[:12] == list(range(12))


def test_a_lane_whose_result_is_lost_is_given_its_spans_again(fragile: Client) -> None:
    name = uuid4().hex
    lanes = [submit(fragile, lane(name, number, 60, 2, 4), retries=3) for number in (0, 1)]
    before = fragile.gather(lanes)
    pids = fragile.run(os.getpid)
    [address] = fragile.who_has([lanes[0]])[lanes[0].key]
    kill(pids[address])
    after = fragile.gather(lanes)
    assert [sorted(n for span in each for n in range(*span)) for each in before] == [
        sorted(n for span in each for n in range(*span)) for each in after
    ]


def test_a_run_of_a_task_that_counts_no_more_is_given_nothing(strict: Client) -> None:
    """Its first question may come after that of the run that counts."""

    def work() -> Any:
        from distributed import get_worker
        from distributed.worker import thread_state

        from nbflow.worker import claim

        ours = get_worker().state.tasks[thread_state.key]
        stale = (ours.key, ours.run_id - 1)
        fields = {"queue": "q", "lane": 0, "total": 4, "lanes": 1, "wanted": None}
        with claim._Talk("queue 'q'") as talk:
            talk.say("nbflow-take", incarnation="old", task=stale, **fields)
            return talk.hear(), claim.take("q", 0, "new", 4, 1)

    told = submit(strict, work).result()
    assert told[0]["span"] is None
    assert told[1] == (0, 2)


def test_a_cluster_that_is_restarted_has_no_queues_and_no_holders(
    fragile: Client, tmp_path: Path
) -> None:
    lock = uuid4().hex
    submit(fragile, lane("q", 0, 10, 1, None)).result()
    held = submit(fragile, blocker(lock, str(tmp_path)))
    until(lambda: list(tmp_path.glob("held-*")))
    fragile.restart()
    assert line_length(fragile, lock) == 0
    assert submit(fragile, lane("q", 0, 12, 1, None)).result(60)[-1] == (11, 12)
    assert submit(fragile, alone(lock, str(tmp_path))).result(60)
    del held


# Locks.


def alone(lock: str, folder: str) -> Any:
    def work() -> bool:
        from nbflow.worker import claim

        with claim.holding(lock):
            os.close(os.open(f"{folder}/inside", os.O_CREAT | os.O_EXCL))
            time.sleep(0.002)
            os.unlink(f"{folder}/inside")
        return True

    return work


def test_a_lock_has_one_holder_at_a_time(ready: Client, tmp_path: Path) -> None:
    lock = uuid4().hex
    work = alone(lock, str(tmp_path))
    assert all(ready.gather([submit(ready, work) for _ in range(24)]))
    until(lambda: line_length(ready, lock) == 0)


def test_locks_of_other_names_do_not_wait(ready: Client) -> None:
    def work() -> bool:
        from nbflow.worker import claim

        with claim.holding("a"), claim.holding("b"):
            return True

    assert submit(ready, work).result()


def blocker(lock: str, folder: str) -> Any:
    def work() -> None:
        from nbflow.worker import claim

        with claim.holding(lock):
            Path(folder, f"held-{os.getpid()}").touch()
            while not Path(folder, "leave").exists():
                time.sleep(0.005)

    return work


def test_first_come_first_served_over_workers(strict: Client, tmp_path: Path) -> None:
    lock, order, folder = uuid4().hex, tmp_path / "order", str(tmp_path)

    def work(number: int) -> None:
        from nbflow.worker import claim

        with claim.holding(lock), Path(folder, "order").open("a") as file:
            file.write(f"{number} ")

    tasks = [submit(strict, blocker(lock, folder))]
    until(lambda: list(tmp_path.glob("held-*")))
    for number in range(20):
        tasks.append(submit(strict, work, number))
        until(lambda: line_length(strict, lock) == len(tasks))
    (tmp_path / "leave").touch()
    strict.gather(tasks)
    assert order.read_text().split() == [str(number) for number in range(20)]
    assert_idle(strict)


def test_an_exception_within_frees_the_lock(ready: Client) -> None:
    lock = uuid4().hex

    def fail() -> None:
        from nbflow.worker import claim

        with claim.holding(lock):
            raise KeyError("mine")

    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            submit(ready, fail).result()
    until(lambda: line_length(ready, lock) == 0)


def test_who_is_cancelled_while_waiting_gives_up(ready: Client, tmp_path: Path) -> None:
    lock, folder = uuid4().hex, str(tmp_path)

    def work() -> None:
        from nbflow.worker import claim

        with claim.holding(lock, cancelled=Path(folder, "cancelled").exists):
            raise AssertionError

    held = submit(ready, blocker(lock, folder))
    until(lambda: list(tmp_path.glob("held-*")))
    waits = submit(ready, work)
    until(lambda: line_length(ready, lock) == 2)
    (tmp_path / "cancelled").touch()
    with pytest.raises(RunCancelledError, match="waited for lock"):
        waits.result()
    until(lambda: line_length(ready, lock) == 1)
    (tmp_path / "leave").touch()
    held.result()


def test_the_lock_of_a_worker_that_dies_is_free(fragile: Client, tmp_path: Path) -> None:
    lock, folder = uuid4().hex, str(tmp_path)
    pids = fragile.run(os.getpid)
    doomed, other = pids
    held = submit(fragile, blocker(lock, folder), workers=[doomed])
    until(lambda: list(tmp_path.glob("held-*")))

    # Two in line on the worker that dies, and one between them on the other.
    def work(name: str) -> str:
        from nbflow.worker import claim

        with claim.holding(lock):
            Path(folder, name).touch()
        return name

    tasks = []
    for number, address in enumerate([doomed, other, doomed]):
        where = {"workers": [address], "allow_other_workers": False}
        tasks.append(submit(fragile, work, f"had-{number}", **where))
        until(lambda: line_length(fragile, lock) == len(tasks) + 1)
    kill(pids[doomed])
    assert tasks[1].result(60) == "had-1"
    until(lambda: line_length(fragile, lock) == 0)
    assert not (tmp_path / "had-0").exists()
    fragile.cancel([held, *tasks])


def test_a_worker_that_is_retired_frees_its_lock(fragile: Client, tmp_path: Path) -> None:
    lock, folder = uuid4().hex, str(tmp_path)
    doomed, other = fragile.run(os.getpid)
    held = submit(fragile, blocker(lock, folder), workers=[doomed], retries=0)
    until(lambda: list(tmp_path.glob("held-*")))
    fragile.retire_workers([doomed])
    (tmp_path / "leave").touch()
    assert submit(fragile, alone(lock, folder), workers=[other]).result(60)
    fragile.cancel(held)


def test_many_more_waiters_than_may_wait_outside(
    strict: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Those who may not leave wait in their slots, and the holder needs one.
    monkeypatch.setattr(slot, "_MOST_AWAY", 3)
    lock = uuid4().hex
    held = submit(strict, blocker(lock, str(tmp_path)))
    until(lambda: list(tmp_path.glob("held-*")))
    work = alone(lock, str(tmp_path))
    tasks = [submit(strict, work) for _ in range(40)]
    # The holder and three in the slots, and three outside of each worker.
    until(lambda: line_length(strict, lock) == 4 + 2 * 3)
    (tmp_path / "leave").touch()
    assert all(strict.gather(tasks))
    held.result()
    assert_idle(strict)


def test_two_locks_contended_by_the_same_workers(
    strict: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot, "_MOST_AWAY", 2)
    tasks = []
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        work = alone(name, str(tmp_path / name))
        tasks += [submit(strict, work) for _ in range(15)]
    assert all(strict.gather(tasks))
    assert_idle(strict)


def test_locks_within_locks(strict: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    # Who holds one lock and waits for another in its slot must hear of it there.
    monkeypatch.setattr(slot, "_MOST_AWAY", 1)

    def work(number: int) -> None:
        from nbflow.worker import claim, slot

        first, second = [("a", "b"), ("b", "c"), ("a", "c")][number % 3]
        with claim.holding(first), claim.holding(second):
            time.sleep(0.001)
        with slot.waiting():
            time.sleep(0.001)

    strict.gather([submit(strict, work, number) for number in range(60)])
    assert_idle(strict)
    assert not plugin(strict)._lines
    assert not claim._answers


# Slots.


def assert_idle(client: Client) -> None:
    """Look at all that Dask counts of running tasks, on a cluster within this process."""
    scheduler = client.cluster.scheduler
    until(lambda: not any(each.state.all_running_tasks for each in workers_of(client)))
    until(lambda: not any(state.processing for state in scheduler.workers.values()))
    assert not any(state.long_running for state in scheduler.workers.values())
    assert not any(state.task_prefix_count for state in scheduler.workers.values())
    assert not scheduler._task_prefix_count_global
    assert all(len(each.executor._threads) <= 2 for each in workers_of(client))
    for each in workers_of(client):
        each.state.validate_state()
    scheduler.validate_state()


def waits(folder: str, name: str) -> Any:
    def work() -> None:
        from nbflow.worker import slot

        with slot.waiting():
            Path(folder, name).touch()
            while not Path(folder, "leave").exists():
                time.sleep(0.005)

    return work


def test_tasks_that_wait_use_no_slots(strict: Client, tmp_path: Path) -> None:
    tasks = [submit(strict, waits(str(tmp_path), f"waits-{each}")) for each in range(8)]
    until(lambda: len(list(tmp_path.glob("waits-*"))) == 8)
    # It could never run if they did: it is what ends their wait.
    submit(strict, (tmp_path / "leave").touch).result(60)
    strict.gather(tasks)
    assert_idle(strict)


class Crowd:
    """Counts those inside at once, in this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.most = 0

    def __enter__(self) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.now -= 1


def crowd() -> Crowd:
    """Give the crowd of this test run, also to functions that came by value."""
    return sys.modules.setdefault("nbflow_test_crowd", Crowd())


def test_a_task_that_has_waited_uses_a_slot_again(strict: Client) -> None:
    crowd().most = 0

    def work() -> None:
        from nbflow.worker import slot

        for _ in range(3):
            with sys.modules["nbflow_test_crowd"]:
                time.sleep(0.003)
            with slot.waiting():
                time.sleep(0.003)

    strict.gather([submit(strict, work) for _ in range(40)])
    assert 1 <= crowd().most <= 4
    assert_idle(strict)


def test_a_task_that_has_waited_counts_as_running_again(strict: Client, tmp_path: Path) -> None:
    folder = str(tmp_path)

    def work(name: str) -> None:
        from nbflow.worker import slot

        with slot.waiting():
            pass
        Path(folder, name).touch()
        while not Path(folder, "leave").exists():
            time.sleep(0.005)

    tasks = [submit(strict, work, f"back-{each}") for each in range(4)]
    until(lambda: len(list(tmp_path.glob("back-*"))) == 4)
    more = [submit(strict, os.getpid) for _ in range(4)]
    states = [each.state for each in workers_of(strict)]
    assert [(len(each.executing), len(each.long_running)) for each in states] == [(2, 0), (2, 0)]
    scheduler = strict.cluster.scheduler
    until(lambda: not any(state.long_running for state in scheduler.workers.values()))
    (tmp_path / "leave").touch()
    strict.gather(tasks + more)
    assert_idle(strict)


def test_waiting_within_waiting_and_after_it(strict: Client) -> None:
    def work() -> list[bool]:
        from distributed.threadpoolexecutor import thread_state

        from nbflow.worker import slot

        seen = []
        for _ in range(2):
            with slot.waiting():
                with slot.waiting():
                    seen.append(thread_state.proceed)
                seen.append(thread_state.proceed)
            seen.append(thread_state.proceed)
        return seen

    assert submit(strict, work).result() == [False, False, True] * 2
    assert_idle(strict)


def test_waiting_after_a_secession_of_the_step_itself(strict: Client) -> None:
    def work() -> bool:
        import distributed

        from nbflow.worker import slot

        distributed.secede()
        with slot.waiting():
            return True

    assert submit(strict, work).result()
    assert_idle(strict)


def test_an_exception_while_waiting_gives_the_slot_back(strict: Client) -> None:
    def work() -> None:
        from nbflow.worker import slot

        with slot.waiting():
            raise KeyError("mine")

    for _ in range(6):
        with pytest.raises(KeyError, match="mine"):
            submit(strict, work).result()
    assert_idle(strict)


def test_waiting_outside_of_a_task_is_only_waiting(strict: Client) -> None:
    def in_a_helper() -> bool:
        from nbflow.worker import slot

        told = []

        def helper() -> None:
            with slot.waiting():
                told.append(True)

        thread = threading.Thread(target=helper)
        thread.start()
        thread.join()
        return told == [True]

    with slot.waiting():
        pass
    assert submit(strict, in_a_helper).result()


def test_when_too_many_wait_outside_a_task_waits_in_its_slot(
    strict: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot, "_MOST_AWAY", 1)
    tasks = [
        submit(strict, waits(str(tmp_path), f"waits-{each}-{number}"), workers=[worker.address])
        for number, worker in enumerate(workers_of(strict))
        for each in range(3)
    ]
    until(lambda: len(list(tmp_path.glob("waits-*"))) == 6)
    assert [len(each.state.long_running) for each in workers_of(strict)] == [1, 1]
    (tmp_path / "leave").touch()
    strict.gather(tasks)
    assert_idle(strict)
