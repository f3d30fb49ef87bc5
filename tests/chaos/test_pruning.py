"""Results of old runs that are given up while others go on, and what is left of them comes late."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from chaos import faults
from chaos.flows import PAID, extract, merge, payment
from chaos.kernel import Kernel, NewKernel
from chaos.matrix import row
from chaos.stage import Stage
from distributed import Client

import nbflow
from nbflow.algebra.flow import Flow
from nbflow.journal.journal import Journal
from nbflow.store.owner import Owner

pytestmark = pytest.mark.timeout(90)

ONCE = {"prepare": 1, "charge": 1, "notify": 1}
KILLED = 9
# In a fork of a kernel that has imported everything, for there are many.
PRUNE = """
child = os.fork()
if child == 0:
    try:
        nbflow.prune(max_bytes=0, store=store)
    finally:
        os._exit(0)
os.waitpid(child, 0)[1]
"""


def adding(folder: str, count: int) -> Flow:
    """Add up so many numbers, of which the list is kept in a file."""
    return extract.s(folder, count) >> merge.s(folder=folder)


def aged(store: str) -> None:
    """Let all files be so old that nobody can be about to need them."""
    long_ago = time.time() - 7_200
    for each in Path(store, "payloads").glob("*/*"):
        os.utime(each, (long_ago, long_ago))


def files(stage: Stage) -> set[str]:
    return {each.name for each in stage.files("store/payloads/*/*")}


def results(stage: Stage, *runs: str) -> set[str]:
    """Name the files of the results of some runs, as far as they are needed."""
    journal = Journal.at(stage.store)
    return {hashed for run in runs for hashed in journal.hashes_of(run)} & files(stage)


@row("57-M12")
def test_pruning_that_is_killed_at_each_write_takes_nothing_that_a_run_needs(
    new_kernel: NewKernel,
    foreign_kernel: Kernel,
    kernel_of_its_own: Kernel,
    cluster: Client,
    stage: Stage,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Those that have ended share results with one that goes on, and one that was cut off.
    flows = payment(stage.folder), adding(stage.folder, 4_000), adding(stage.folder, 5_000)
    ended = [flow.run(store=stage.store).id for flow in flows]
    stage.shut("notify", "merge")
    foreign_kernel.cell("going = flows.payment(folder).submit(store=store)")
    going = foreign_kernel.cell("going.id")
    kernel_of_its_own.cell(
        "flow = flows.extract.s(folder, 5_000) >> flows.merge.s(folder=folder)\n"
        "run = flow.submit(store=store)"
    )
    stage.until("notify", 2)
    stage.until("merge", 3)
    cut_off = kernel_of_its_own.cell("run.id")
    stage.wait(lambda: stage.load(cut_off).state.steps["extract"].status.succeeded, "a list")
    kernel_of_its_own.kill()
    stage.open("merge")
    aged(stage.store)
    given_up = results(stage, *ended) - results(stage, going, cut_off)
    assert len(given_up) == 1

    pruner, ways, killed = new_kernel(own_cluster=False), Counter[str](), True
    while killed:
        number = sum(ways.values()) + 1
        copy = Stage(tmp_path_factory.mktemp(f"copy-{number}"))
        with stage.locked():
            shutil.copytree(stage.store, copy.store)
        needed = results(copy, going, cut_off)
        faults.plan(copy.folder, "", "before", "kill", number)
        killed = pruner.cell(PRUNE, folder=copy.folder, store=copy.store) == KILLED
        faults.let_go(copy.folder)
        gone = [Journal.at(copy.store).entry(each).pruned is not None for each in ended]
        # First the rows, of all or of none, and then the files.
        assert len(set(gone)) == 1, f"killed at write {number}"
        assert all(gone) or given_up <= files(copy), f"killed at write {number}"
        assert needed <= files(copy), f"killed at write {number}"
        ways[f"rows {'gone' if all(gone) else 'there'}, {len(files(copy))} files"] += 1
        # The next one finishes, and those that were left go on.
        nbflow.prune(max_bytes=0, store=copy.store)
        assert not given_up & files(copy), f"killed at write {number}"
        assert not set(ended) & set(os.listdir(f"{copy.store}/runs")), f"killed at write {number}"
        assert copy.load(going).status == "running"
        assert copy.load(cut_off).resume().result(30) == sum(range(5_000))
    # None of those that went on has computed its list once more.
    assert stage.counts()["extract"] == 3
    foreign_kernel.cell("nbflow.prune(max_bytes=0, store=store)")
    stage.open()
    assert foreign_kernel.cell("going.result(30)") == PAID
    assert (stage.counts()["charge"], stage.counts()["notify"]) == (2, 2)
    for each in ended:
        assert stage.load(each).status == "completed"
    # Nobody knows any more what those that were given up had claimed.
    stage.whole = False
    assert number > 5
    with capsys.disabled():
        print(f"\npruning was killed at {number - 1} writes: {dict(ways)}")


@row("58-M12")
def test_a_receipt_that_comes_after_its_run_was_given_up_counts_for_no_run(
    cluster: Client, stage: Stage
) -> None:
    stage.shut("charge")
    run = payment(stage.folder).submit(store=stage.store, key="order-1")
    receipt = f"receipts/effects/{stage.until('charge').key}"
    faults.plan(stage.folder, receipt, "before", "fail")
    stage.open()
    stage.wait(lambda: faults.has_happened(stage.folder), "a receipt that cannot be written")
    # The worker tries it again, as long as it lives.
    faults.plan(stage.folder, receipt, "before", "hold")
    assert run.wait(30)
    assert run.state.steps["charge"].doubts
    stage.wait(lambda: faults.has_happened(stage.folder), "a worker that is held up")
    run = run.resolve("charge", completed=[5]).resume()
    assert run.result(30) == PAID
    nbflow.prune(max_bytes=0, store=stage.store)
    assert stage.files("store/runs/*") == []
    faults.let_go(stage.folder)
    stage.wait(lambda: stage.files("store/runs/*/receipts/effects/*/1"), "the late receipt")

    seen = stage.load()
    assert (seen.status, seen.value("charge"), seen.result()) == ("completed", [5], PAID)
    # Who asks for the same again is given what there was, and a new run has a key of its own.
    again = payment(stage.folder).run(store=stage.store, key="order-1")
    assert (again.id, stage.counts()) == (run.id, ONCE)
    new = payment(stage.folder).run(store=stage.store)
    assert new.result() == PAID
    assert len({each.key for each in stage.lines("charge")}) == stage.counts()["charge"] == 2
    nbflow.prune(max_bytes=0, store=stage.store)
    assert stage.files("store/runs/*") == []
    stage.whole = False


@row("58-M7")
def test_a_receipt_of_another_run_is_none_and_no_run_is_named_like_one_before(
    kernel_of_its_own: Kernel, cluster: Client, stage: Stage
) -> None:
    before = payment(stage.folder).run(store=stage.store)
    receipts = stage.files(f"store/runs/{before.id}/receipts/effects/*/1")
    [saved] = [
        each.read_bytes() for each in receipts if each.parent.name == stage.lines("charge")[0].key
    ]
    nbflow.prune(max_bytes=0, store=stage.store)
    journal = Journal.at(stage.store)
    with pytest.raises(nbflow.StoreError, match=before.id):
        journal.begin(replace(journal.entry(before.id), key=None), b"", Owner.here())

    stage.shut("charge")
    kernel_of_its_own.cell("run = flows.payment(folder).submit(store=store)")
    stage.until("charge", 2)
    kernel_of_its_own.kill()
    stage.open()
    run_id = stage.run_ids()[-1]
    [claim] = stage.files(f"store/runs/{run_id}/claims/*/1")
    receipt = Path(stage.store, "runs", run_id, "receipts/effects", claim.parent.name, "1")
    receipt.parent.mkdir(parents=True)
    receipt.write_bytes(saved)
    run = stage.load(run_id).resume()
    assert run.wait(30)
    assert (run.status, stage.counts()["charge"]) == ("interrupted", 2)
    assert run.state.steps["charge"].doubts
    # Of the first run, the claims are gone.
    stage.whole = False
