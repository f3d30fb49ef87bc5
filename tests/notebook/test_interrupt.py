"""The stop button in a real kernel: once detaches the cell, twice cancels the run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

pytestmark = pytest.mark.timeout(180)

BEGIN = """
import time
from pathlib import Path
import nbflow
from nbflow import context, step

nbflow.connect(n_workers=2, threads_per_worker=1)

@step
def patient(folder):
    Path(folder, "begun").touch()
    while not (context().cancelled or Path(folder, "leave").exists()):
        time.sleep(0.01)
    return "done"

@step
def shout(word):
    return word.upper()

nbflow.step(len).s("warm").run()
"""


class Kernel:
    """A kernel, and what one cell at a time says."""

    def __init__(self) -> None:
        self.manager, self.client = start_new_kernel(kernel_name="python3")
        self.said = ""

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def start(self, code: str) -> str:
        self.said = ""
        return self.client.execute(code)

    def listen(self, cell: str, until: str = "") -> str:
        """Hear a cell out, or until it has said something; give the name of its error."""
        error = ""
        while True:
            message = self.client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != cell:
                continue
            content = message["content"]
            self.said += content.get("text", "") + content.get("data", {}).get("text/plain", "")
            if message["msg_type"] == "error":
                error = content["ename"]
                self.said += content["evalue"]
            if message["msg_type"] == "status" and content["execution_state"] == "idle":
                return error
            if until and until in self.said:
                return error

    def run(self, code: str) -> str:
        cell = self.start(code)
        assert self.listen(cell) == "", self.said
        return self.said


@pytest.fixture(scope="module")
def kernel():
    """A kernel with a cluster of its own, which lives through what is done to it."""
    made = Kernel()
    made.run(BEGIN)
    yield made
    made.close()


def wait_for(path: Path) -> None:
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_one_interrupt_detaches_the_cell_and_the_run_goes_on(kernel, tmp_path):
    cell = kernel.start(f"({str(tmp_path)!r} >> patient >> shout).run()")
    wait_for(tmp_path / "begun")
    kernel.manager.interrupt_kernel()
    assert kernel.listen(cell) == "KeyboardInterrupt"
    assert "goes on" in kernel.said
    assert "nbflow.last_run()" in kernel.said
    (tmp_path / "leave").touch()
    assert "'DONE'" in kernel.run("nbflow.last_run().result(timeout=30)")
    assert "'completed'" in kernel.run("nbflow.last_run().status")


def test_a_second_interrupt_cancels_the_run_and_the_cluster_lives(kernel, tmp_path):
    cell = kernel.start(f"({str(tmp_path)!r} >> patient >> shout).run()")
    wait_for(tmp_path / "begun")
    kernel.manager.interrupt_kernel()
    kernel.listen(cell, until="interrupt once more to cancel it")
    kernel.manager.interrupt_kernel()
    assert kernel.listen(cell) == "KeyboardInterrupt"
    assert "was cancelled" in kernel.said
    kernel.run("nbflow.last_run().wait(30)")
    assert "'cancelled'" in kernel.run("nbflow.last_run().status")
    assert "'OK'" in kernel.run("('ok' >> shout).run().result()")


def test_the_magic_cancels_a_run_that_nobody_waits_for(kernel, tmp_path):
    kernel.run(f"%load_ext nbflow\nlong = {str(tmp_path)!r} >> patient >> shout")
    kernel.run("%flow run long --no-wait")
    wait_for(tmp_path / "begun")
    kernel.run("%flow cancel")
    kernel.run("nbflow.last_run().wait(30)")
    assert "'cancelled'" in kernel.run("nbflow.last_run().status")
