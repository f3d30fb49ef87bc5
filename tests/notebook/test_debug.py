"""``%flow debug`` in a real kernel, which asks its front end for what to do."""

from __future__ import annotations

import re

import pytest
from jupyter_client.manager import start_new_kernel

pytestmark = pytest.mark.timeout(120)

SETUP = """
%load_ext nbflow
from nbflow import step
@step
def invert(n):
    inverse = 1 / (n - 2)
    return inverse
bad = [1, 2, 3] >> invert.map()
run = bad.run(raise_on_error=False)
"""
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def kernel(on_cluster):
    manager, client = start_new_kernel(env=on_cluster)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client, code, answers=()):
    """Run a cell, answer what it asks, and give what it printed."""
    answers, said = iter(answers), []
    client.execute(code, allow_stdin=True)
    while True:
        for channel, channel_name in ((client.stdin_channel, "stdin"),):
            if channel.msg_ready():
                client.get_stdin_msg(timeout=1)
                client.input(next(answers))
        if not client.iopub_channel.msg_ready():
            client.iopub_channel.socket.poll(50)
            continue
        message = client.get_iopub_msg(timeout=1)
        content = message["content"]
        if message["msg_type"] == "stream":
            said.append(content["text"])
        elif message["msg_type"] == "error":
            said.append("\n".join(content["traceback"]))
        elif message["msg_type"] == "status" and content["execution_state"] == "idle":
            if message["parent_header"].get("msg_type") == "execute_request":
                return ANSI.sub("", "".join(said))


def test_the_failing_element_can_be_looked_into(kernel):
    run(kernel, SETUP)

    said = run(kernel, "%flow debug", ["p (n, 'here')", "q"])

    assert "invert[1] is computed once more, here" in said
    assert "> 5     inverse = 1 / (n - 2)" in said
    assert "(2, 'here')" in said
    assert "3" in run(kernel, "print(1 + 2)")


def test_the_traceback_of_a_cell_that_is_a_step_shows_its_lines(kernel):
    run(kernel, "%load_ext nbflow")
    run(kernel, "%%flow step raw\n[1, 2]")
    run(kernel, "%%flow step bad\ntext = '''a\nb'''\ny = raw[7]\ny")

    for command in ("bad.call()", "%flow run bad"):
        said = run(kernel, command)

        assert "----> 4     y = raw[7]" in said, said
        assert "1 def bad(raw):  # %%flow step bad" in said
        assert re.search(r"Cell In\[\d+\], line 4", said)
