"""One ETL, killed thirty times at moments that a seed has drawn."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from chaos.aftermath import completed_elements, recovered
from chaos.flows import DONE, etl
from chaos.invariants import check
from chaos.kernel import NewKernel
from chaos.shared import shared
from chaos.stage import Stage

SEED = 20261121
POINTS = 30
# Extract, parse ten, merge, charge, notify.
CALLS = 14
PACE = 0.02
RESULTS = {"charge": [90] * 9_000, "notify": DONE}

# In a fork of a kernel that has imported everything, for there are many.
START = """
child = os.fork()
if child == 0:
    try:
        nbflow.connect(address)
        run = flows.etl(folder).submit(store=store)
        open(folder + '/submitted', 'w').close()
        run.wait(40)
    finally:
        os._exit(0)
child
"""


@pytest.mark.timeout(200)
def test_an_etl_that_is_killed_at_thirty_random_moments_always_ends_the_same(
    new_kernel: NewKernel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kernel, chosen, told = new_kernel(own_cluster=False), random.Random(SEED), Counter[str]()
    for point in range(POINTS):
        cluster = shared()
        folder = tmp_path / str(point)
        folder.mkdir()
        stage = Stage(folder)
        # So that most of the kills come before the end.
        stage.pace(PACE)
        victim = chosen.choice(["kernel", "worker"])
        calls, instant = chosen.randrange(CALLS), chosen.random()
        address = cluster.scheduler.address
        pids = sorted(cluster.run(os.getpid).values())
        child = kernel.cell(START, folder=stage.folder, store=stage.store, address=address)
        # At some call, and a moment after it.
        stage.wait(lambda s=stage, n=calls: len(s.lines()) >= n, f"call {calls}")
        time.sleep(1.5 * PACE * instant)
        if victim == "kernel":
            os.kill(child, signal.SIGKILL)
        else:
            # The one that has made the call, so that it is mostly in the middle of it.
            pid = stage.lines()[calls - 1].pid if calls else chosen.choice(pids)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        kernel.cell("os.waitpid(child, 0)[1]", child=child)
        # Half of the resumes begin while workers still do what the killed kernel wanted.
        if chosen.random() < 0.5:
            stage.until_idle(cluster)
        before = stage.load() if stage.run_ids() else None
        known = set() if before is None else completed_elements(before, "parse")
        called = len(stage.lines("parse"))
        told[victim] += 1
        if before is not None:
            told["came to the end by themselves"] += before.status == "completed"
            told["were in doubt"] += any(step.doubts for step in before.state.steps.values())
            told["elements were known"] += len(known)
        run = recovered(stage, etl(stage.folder), RESULTS)
        where = f"point {point}, {victim} after {calls} calls: {stage.counts()}"
        assert run.result() == DONE, where
        counts = stage.counts()
        assert (counts["charge"], counts["notify"]) == (1, 1), where
        again = [each.element for each in stage.lines("parse")[called:]]
        assert not known & set(again), where
        stage.until_idle(shared())
        assert (stage.counts()["charge"], stage.counts()["notify"]) == (1, 1), where
        told["elements ran again"] += len(stage.lines("parse")) - 10
        check(stage)
    with capsys.disabled():
        print(f"\nseed {SEED}: {POINTS} kills; " + ", ".join(f"{n} {k}" for k, n in told.items()))
