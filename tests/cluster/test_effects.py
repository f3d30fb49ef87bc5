"""Steps that do something in the world: no attempt is begun twice, and doubt is said."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

import nbflow
from nbflow import Retry, branch, context, group, step
from nbflow.running import cluster as clusters

pytestmark = [pytest.mark.timeout(90)]


@pytest.fixture
def fragile(client: Client) -> Iterator[Client]:
    """Give a cluster of its own to those that break it."""
    with clusters.LocalCluster(
        host="127.0.0.1", dashboard_address="127.0.0.1:0", n_workers=2, threads_per_worker=1
    ) as cluster:
        own = nbflow.connect(cluster)
        yield own
        own.close()
    nbflow.connect(client)


def note(folder: str, text: str) -> None:
    file = os.open(f"{folder}/ledger", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(file, f"{text}\n".encode())
    os.close(file)


def ledger(folder: Path) -> list[str]:
    file = folder / "ledger"
    return file.read_text().split("\n")[:-1] if file.exists() else []


def until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


@step(effect=True)
def charge(amount: int, folder: str) -> int:
    note(folder, f"begun {os.getpid()}")
    while not Path(folder, "leave").exists():
        time.sleep(0.01)
    note(folder, "done")
    return amount * 100


@step
def double(x: Any) -> Any:
    return 2 * x


def begun(folder: Path) -> int:
    """Wait until the effect has begun, and say in which process."""
    until(lambda: ledger(folder))
    return int(ledger(folder)[0].split()[1])


def test_an_effect_runs_once_though_its_worker_is_retired(fragile: Client, tmp_path: Path) -> None:
    run = (3 >> charge.s(str(tmp_path)) >> double).submit()
    pid = begun(tmp_path)
    [address] = [each for each, other in fragile.run(os.getpid).items() if other == pid]
    fragile.retire_workers([address], close_workers=False)
    # The other copy has begun, found the claim, and waits.
    until(lambda: any(fragile.processing().values()))
    (tmp_path / "leave").touch()
    assert run.result(60) == 600
    assert [line.split()[0] for line in ledger(tmp_path)] == ["begun", "done"]


def test_an_effect_whose_worker_died_is_in_doubt(fragile: Client, tmp_path: Path) -> None:
    run = (3 >> charge.s(str(tmp_path)) >> double).submit()
    os.kill(begun(tmp_path), signal.SIGKILL)
    assert run.wait(60)
    assert run.status == "interrupted"
    assert "'charge' is in doubt" in run.state.reason
    assert "run.resolve('charge'" in run.state.reason
    assert "nothing says whether it ended" in run.state.steps["charge"].doubts[None]
    assert (run.state.steps["double"].status, len(ledger(tmp_path))) == ("pending", 1)
    with pytest.raises(nbflow.RunError, match="interrupted: step 'charge' is in doubt"):
        run.result()


@pytest.mark.parametrize(
    ("verdict", "result", "calls"),
    [({"completed": 7}, 14, 1), ({"retry": True}, 600, 2), ({"failed": True}, None, 1)],
)
def test_a_person_says_what_became_of_it(
    fragile: Client, tmp_path: Path, verdict: dict[str, Any], result: int | None, calls: int
) -> None:
    run = (3 >> charge.s(str(tmp_path)) >> double).submit()
    os.kill(begun(tmp_path), signal.SIGKILL)
    assert run.wait(60)
    (tmp_path / "leave").touch()
    assert not run.resolve("charge", **verdict).state.steps["charge"].doubts
    resumed = run.resume()
    assert resumed.wait(60)
    if result is None:
        statuses = resumed.steps["status"].to_dict()
        assert statuses == {"charge": "failed", "double": "skipped"}
        assert resumed.status == "failed"
    else:
        assert resumed.result() == result
    begins = [line for line in ledger(tmp_path) if line.startswith("begun")]
    assert len(begins) == calls


def test_doubt_can_be_answered_beforehand(fragile: Client, tmp_path: Path) -> None:
    again = charge.options(on_doubt="retry")
    run = (3 >> again.s(str(tmp_path)) >> double).submit()
    os.kill(begun(tmp_path), signal.SIGKILL)
    until(lambda: len(ledger(tmp_path)) > 1)
    (tmp_path / "leave").touch()
    assert run.result(60) == 600
    assert len([line for line in ledger(tmp_path) if line.startswith("begun")]) == 2


@pytest.mark.parametrize(("known", "result", "calls"), [(5, 10, 1), (None, 600, 2)])
def test_a_function_can_find_out(
    fragile: Client, tmp_path: Path, known: int | None, result: int, calls: int
) -> None:
    def look(amount: int, folder: str) -> int | None:
        note(folder, f"looked at {amount}")
        return known

    run = (3 >> charge.options(verify=look).s(str(tmp_path)) >> double).submit()
    os.kill(begun(tmp_path), signal.SIGKILL)
    until(lambda: "looked at 3" in ledger(tmp_path))
    (tmp_path / "leave").touch()
    assert run.result(60) == result
    assert len([line for line in ledger(tmp_path) if line.startswith("begun")]) == calls


def test_the_idempotency_key_is_the_same_in_all_attempts(client: Client, tmp_path: Path) -> None:
    folder = str(tmp_path)

    @step(effect=True, retry=Retry(attempts=3, wait=0.01))
    def order(x: int) -> str:
        here = context()
        note(folder, f"{here.attempt} {here.idempotency_key}")
        if here.attempt < 3:
            raise OSError("busy")
        return here.idempotency_key

    run = (1 >> order).run()
    attempts, keys = zip(*(line.split() for line in ledger(tmp_path)), strict=True)
    assert attempts == ("1", "2", "3")
    assert set(keys) == {run.result()}
    assert run.steps.loc["order", "attempts"] == 3


def test_elements_are_effects_each_for_itself(client: Client, tmp_path: Path) -> None:
    folder = str(tmp_path)

    @step(effect=True)
    def send(x: int) -> int:
        note(folder, f"sent {x}")
        if x == 2 and len(ledger(tmp_path)) < 4:
            raise OSError("busy")
        return x

    run = send.map([0, 1, 2, 3]).run(raise_on_error=False)
    assert run.status == "failed"
    assert sorted(ledger(tmp_path)) == ["sent 0", "sent 1", "sent 2", "sent 3"]
    assert run.resume().result(60) == [0, 1, 2, 3]
    assert sorted(ledger(tmp_path)) == ["sent 0", "sent 1", "sent 2", "sent 2", "sent 3"]


def test_an_arm_that_is_not_taken_claims_nothing(client: Client, tmp_path: Path) -> None:
    (tmp_path / "leave").touch()
    flow = 3 >> branch(lambda x: x > 5, charge.s(str(tmp_path)), double)
    assert flow.run().result() == 6
    assert ledger(tmp_path) == []


def test_an_effect_is_called_once_also_where_nothing_is_kept(
    client: Client, tmp_path: Path
) -> None:
    (tmp_path / "leave").touch()
    run = (3 >> charge.s(str(tmp_path)) >> double).run(store=False)
    assert run.result() == 600
    with pytest.raises(nbflow.RunError, match="was not written down"):
        run.resume()


def test_what_an_effect_raised_reaches_the_user(client: Client) -> None:
    @step(effect=True)
    def fails() -> None:
        raise KeyError("no such account")

    with pytest.raises(KeyError, match="no such account"):
        fails.s().run()


# Sagas


def undoing(folder: str, name: str, *, failing: int = 0) -> Any:
    """Make a function that undoes, and fails some times first."""

    def undo(result: Any) -> None:
        note(folder, f"{name} {result}")
        if len([line for line in ledger(Path(folder)) if line.startswith(name)]) <= failing:
            raise OSError("busy")

    return undo


def saga(folder: Path, *, failing: int = 0, undo_retry: int = 0) -> Any:
    place = str(folder)

    @step(compensate=step(undoing(place, "refund", failing=failing), retry=undo_retry))
    def charge(x: int) -> int:
        note(place, "charge")
        return x + 1

    @step(compensate=undoing(place, "release"))
    def reserve(x: int) -> int:
        note(place, "reserve")
        return x + 1

    @step
    def notify(x: int) -> int:
        raise RuntimeError("the mail server is down")

    return 1 >> charge >> reserve >> notify


def test_a_failure_undoes_what_was_done_in_reverse_order(client: Client, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="mail server") as caught:
        saga(tmp_path).run()
    assert "the run was rolled back: 2 steps undone" in caught.value.__notes__[0]
    run = nbflow.last_run()
    assert run.status == "compensated"
    assert ledger(tmp_path) == ["charge", "reserve", "release 3", "refund 2"]
    statuses = run.steps["status"].to_dict()
    assert statuses == {"charge": "compensated", "reserve": "compensated", "notify": "failed"}


def test_undoing_has_its_own_retries(client: Client, tmp_path: Path) -> None:
    run = saga(tmp_path, failing=2, undo_retry=2).run(raise_on_error=False)
    assert run.status == "compensated"
    assert ledger(tmp_path)[2:] == ["release 3", "refund 2", "refund 2", "refund 2"]
    assert run.state.steps["charge"].undone[None].attempts == 3


def test_undoing_that_fails_is_recorded_and_can_be_tried_again(
    client: Client, tmp_path: Path
) -> None:
    run = saga(tmp_path, failing=1).run(raise_on_error=False)
    assert run.status == "failed"
    assert run.state.reason == "undoing charge failed"
    assert run.steps["status"].to_dict()["reserve"] == "compensated"
    assert run.state.steps["charge"].undone[None].error.message == "busy"
    resumed = run.resume()
    assert resumed.wait(30)
    assert resumed.status == "compensated"
    # Never forward, and nothing is undone twice.
    assert ledger(tmp_path)[2:] == ["release 3", "refund 2", "refund 2"]
    with pytest.raises(nbflow.RunError, match="never goes forward"):
        resumed.resume()


def test_a_successful_run_can_be_undone(client: Client, tmp_path: Path) -> None:
    flow = nbflow.Flow(saga(tmp_path).expression.args[0])
    run = flow.run()
    undone = run.undo()
    assert undone.wait(30)
    assert undone.status == "compensated"
    assert ledger(tmp_path)[2:] == ["release 3", "refund 2"]
    with pytest.raises(nbflow.RunError, match="is undone already"):
        undone.undo()


def test_a_run_that_has_nothing_to_undo_says_so(client: Client) -> None:
    run = (1 >> double).run()
    with pytest.raises(nbflow.RunError, match="nothing to undo"):
        run.undo()
    assert run.status == "completed"


def test_elements_are_undone_one_by_one(client: Client, tmp_path: Path) -> None:
    place = str(tmp_path)

    @step(compensate=undoing(place, "cancel"))
    def book(x: int) -> str:
        if x == 2:
            raise ValueError("full")
        return f"seat {x}"

    run = book.map([0, 1, 2, 3]).run(raise_on_error=False)
    assert run.status == "compensated"
    assert sorted(ledger(tmp_path)) == ["cancel seat 0", "cancel seat 1", "cancel seat 3"]


def test_who_undoes_knows_what_the_step_was_known_by(client: Client, tmp_path: Path) -> None:
    place = str(tmp_path)

    def undo(result: Any) -> None:
        here = context()
        note(place, f"{here.undoing} {here.key_of_step} {here.idempotency_key}")

    @step(compensate=undo)
    def pay() -> str:
        return context().idempotency_key

    @step
    def fails(x: str) -> None:
        note(place, x)
        raise ValueError

    (pay >> fails).run(raise_on_error=False)
    key, (undoing_, of_step, own) = ledger(tmp_path)[0], ledger(tmp_path)[1].split()
    assert (undoing_, of_step) == ("True", key)
    assert own != key


def test_a_cancelled_run_is_rolled_back(client: Client, tmp_path: Path) -> None:
    place = str(tmp_path)

    @step(compensate=undoing(place, "refund"))
    def pay() -> int:
        return 5

    @step
    def waits(x: int) -> int:
        note(place, "waits")
        while not context().cancelled:
            time.sleep(0.01)
        raise RuntimeError("it was cancelled")

    run = (pay >> waits >> double).submit()
    until(lambda: ledger(tmp_path))
    run.cancel()
    assert run.wait(30)
    assert ledger(tmp_path) == ["waits", "refund 5"]


def test_what_is_in_doubt_is_undone_too_when_another_step_fails(
    fragile: Client, tmp_path: Path
) -> None:
    place = str(tmp_path)

    @step(compensate=undoing(place, "refund"))
    def pay() -> int:
        note(place, f"begun {os.getpid()}")
        while not Path(place, "leave").exists():
            time.sleep(0.01)
        return 5

    @step
    def fails() -> None:
        while not Path(place, "fail").exists():
            time.sleep(0.01)
        raise ValueError("no")

    run = ([pay, fails] >> step(len)).submit()
    pid = begun(tmp_path)
    os.kill(pid, signal.SIGKILL)
    until(lambda: run.state.steps["pay"].doubts)
    (tmp_path / "fail").touch()
    assert run.wait(60)
    assert ledger(tmp_path)[1:] == ["refund None"]
    assert (run.status, run.steps.loc["pay", "status"]) == ("compensated", "compensated")


def test_what_comes_before_an_effect_is_written_down_before_it_begins(
    fragile: Client, tmp_path: Path
) -> None:
    place = str(tmp_path)

    @step(checkpoint=True)
    def numbers() -> list[int]:
        note(place, "numbers")
        return [1, 2]

    @step(effect=True, on_doubt="retry")
    def kills(xs: list[int]) -> int:
        note(place, "kills")
        if ledger(tmp_path).count("kills") == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return sum(xs)

    assert (numbers >> kills).run().result() == 3
    assert ledger(tmp_path) == ["numbers", "kills", "kills"]


def test_the_result_of_a_run_that_was_undone_is_asked_for(client: Client, tmp_path: Path) -> None:
    @step(compensate=undoing(str(tmp_path), "refund"))
    def pay() -> int:
        return 5

    undone = pay.s().run().undo()
    undone.wait(30)
    with pytest.raises(nbflow.RunError, match=r"what it had done was undone \(pay\)"):
        undone.result()


def test_handlers_hear_of_a_failure_that_was_rolled_back(client: Client, tmp_path: Path) -> None:
    heard: list[str] = []
    flow = saga(tmp_path).on_error(lambda failures: heard.append(failures[0].step))
    flow.run(raise_on_error=False)
    assert heard == ["notify"]


@pytest.mark.parametrize("checkpoint", [True, False])
def test_the_loss_of_all_workers_after_the_end_repeats_no_effect(
    fragile: Client, tmp_path: Path, checkpoint: bool
) -> None:
    folder = str(tmp_path)

    @step(effect=True)
    def send(x: int) -> int:
        note(folder, "sent")
        return x + 1

    run = (1 >> double >> send >> double).run(checkpoint=checkpoint)
    # When all of the run is over, also what comes after its end.
    until(lambda: list(Path(os.environ["NBFLOW_STORE"]).glob(f"runs/{run.id}/ends/*")))
    for pid in fragile.run(os.getpid).values():
        os.kill(pid, signal.SIGKILL)
    assert run.result(60) == 6
    assert run.value("send") == 3
    assert ledger(tmp_path) == ["sent"]


@pytest.mark.parametrize("lost", ["payload", "everything"])
def test_an_effect_is_not_repeated_for_its_result(
    client: Client, tmp_path: Path, lost: str
) -> None:
    folder, store = str(tmp_path), tmp_path / "s"

    @step(effect=True)
    def fetch() -> list[int]:
        note(folder, "fetched")
        return list(range(5_000))

    @step
    def check(xs: list[int]) -> int:
        if not Path(folder, "ready").exists():
            raise OSError("not yet")
        return len(xs)

    run = (fetch >> check).run(store=store, raise_on_error=False)
    for file in (store / "payloads").glob("*/*"):
        file.unlink()
    if lost == "everything":
        # When what comes after the end of a run is over.
        until(lambda: list((store / "runs").glob("*/ends/*")))
        shutil.rmtree(store / "runs")
    (tmp_path / "ready").touch()
    assert run.plan_of_resume().loc["fetch", "decision"] == "ask"
    resumed = run.resume()
    assert resumed.wait(30)
    assert resumed.status == "interrupted"
    assert "'fetch' is in doubt: it was done, but" in resumed.state.reason
    assert ledger(tmp_path) == ["fetched"]
    resumed.resolve("fetch", completed=[1, 2])
    assert resumed.resume().result(30) == 2
    assert ledger(tmp_path) == ["fetched"]


def test_what_was_done_is_undone_though_its_result_is_lost(client: Client, tmp_path: Path) -> None:
    store = tmp_path / "s"

    @step(compensate=undoing(str(tmp_path), "refund"))
    def pay() -> list[int]:
        return list(range(5_000))

    run = pay.s().run(store=store)
    for file in (store / "payloads").glob("*/*"):
        file.write_bytes(b"damaged")
    undone = run.undo()
    assert undone.wait(30)
    assert (undone.status, ledger(tmp_path)) == ("compensated", ["refund None"])


# Elements with keys


def keyed(folder: str) -> Any:
    """Give a flow that dies with its worker at one element, unless a file is there."""

    def refund(receipt: Any) -> None:
        note(folder, f"refund {context().element} {context().key_of_step}")

    @step(compensate=refund)
    def pay(country: str) -> str:
        note(folder, f"pay {country} {context().idempotency_key}")
        if country == "us" and not Path(folder, "leave").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return country

    return pay.map(["eu", "us"], key=str) >> step(len)


@pytest.mark.parametrize(
    ("verdict", "status", "payments"),
    [
        ({"completed": "us"}, "completed", 1),
        ({"retry": True}, "completed", 2),
        ({"failed": True}, "compensated", 1),
    ],
)
def test_an_element_in_doubt_is_called_as_its_user_called_it(
    fragile: Client, tmp_path: Path, verdict: dict[str, Any], status: str, payments: int
) -> None:
    run = keyed(str(tmp_path)).submit(store=tmp_path / "s")
    assert run.wait(60)
    assert run.status == "interrupted"
    assert "step 'pay[us]' is in doubt" in run.state.reason
    assert "run.resolve('pay[us]', " in run.state.reason
    (tmp_path / "leave").touch()
    while run.status == "interrupted":
        # The other one was at work on the worker that died, or not.
        [(called, _), *_] = run.state.steps["pay"].in_doubt
        said = verdict if called == "pay[us]" else {"completed": "eu"}
        run = nbflow.load(run.id, tmp_path / "s").resolve(called, **said).resume()
        assert run.wait(60)
    assert run.status == status
    paid = [line.split()[2] for line in ledger(tmp_path) if line.startswith("pay us")]
    assert len(paid) == payments
    assert len(set(paid)) == 1


def test_who_undoes_an_element_in_doubt_knows_its_key(fragile: Client, tmp_path: Path) -> None:
    run = keyed(str(tmp_path)).submit(store=tmp_path / "s")
    assert run.wait(60)
    assert run.status == "interrupted"
    undone = nbflow.load(run.id, tmp_path / "s").undo()
    assert undone.wait(60)
    assert undone.status == "compensated"
    keys = {line.split()[1]: line.split()[2] for line in ledger(tmp_path) if "pay" in line}
    assert f"refund us {keys['us']}" in ledger(tmp_path)


def test_an_undoing_of_what_is_in_doubt_that_fails_is_an_end(
    fragile: Client, tmp_path: Path
) -> None:
    folder = str(tmp_path)

    def refund(receipt: Any) -> None:
        if not Path(folder, "open").exists():
            raise OSError("the bank is closed")

    @step(compensate=refund)
    def pay() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @step
    def fails() -> None:
        until(Path(folder, "leave").exists)
        raise ValueError("no luck")

    run = group(pay.s(), fails.s()).submit(store=tmp_path / "s")
    until(lambda: run.state.steps["pay"].doubts)
    (tmp_path / "leave").touch()
    assert run.wait(60)
    assert (run.status, run.state.reason) == ("failed", "undoing pay failed")
    (tmp_path / "open").touch()
    again = nbflow.load(run.id, tmp_path / "s").undo()
    assert again.wait(60)
    assert again.status == "compensated"
