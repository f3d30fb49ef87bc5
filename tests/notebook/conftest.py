"""A cluster for what need not start its own, a real JupyterLab, and a browser to look at it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from distributed import Client

import nbflow
from nbflow.running import cluster as clusters

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Client]:
    """Give the cluster on which the flows of this process run."""
    yield nbflow.connect(n_workers=2, threads_per_worker=1)
    clusters.close_own()


@pytest.fixture(scope="session")
def on_cluster(cluster: Client) -> dict[str, str]:
    """Give the environment of processes whose flows run on the same cluster."""
    return {**os.environ, "DASK_SCHEDULER_ADDRESS": cluster.scheduler.address}


class Lab:
    """A JupyterLab that runs, and the folder that it shows."""

    def __init__(self, address: str, root: Path) -> None:
        self.address = address
        self.root = root

    def write(self, name: str, cells: list[str], may_fail: tuple[int, ...] = ()) -> None:
        """Put a notebook there that nobody has executed yet."""
        made = [nbformat.v4.new_code_cell(each) for each in cells]
        for number in may_fail:
            made[number]["metadata"]["tags"] = ["raises-exception"]
        spec = {"display_name": "Python 3", "language": "python", "name": "python3"}
        notebook = nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": spec})
        nbformat.write(notebook, self.root / name)

    def open(self, page: Any, name: str) -> None:
        """Open a notebook."""
        page.goto(f"{self.address}/lab/tree/{name}?reset")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell")

    def run_all(self, page: Any, name: str) -> None:
        """Open a notebook, and begin to run its cells."""
        self.open(page, name)
        self.begin(page)

    def begin(self, page: Any) -> None:
        """Begin to run the cells of the notebook that is open."""
        # Before the kernel is there, "Run" would ask which one is meant.
        page.get_by_text("| Idle").wait_for(timeout=60_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()

    def end_kernels(self) -> None:
        """End all kernels: what they still hold would be computed anew when a worker dies."""
        with urllib.request.urlopen(f"{self.address}/api/kernels", timeout=30) as answer:
            kernels = json.load(answer)
        for each in kernels:
            asked = urllib.request.Request(
                f"{self.address}/api/kernels/{each['id']}", method="DELETE"
            )
            urllib.request.urlopen(asked, timeout=30).close()

    def saved(self, page: Any, name: str, wanted: str) -> str:
        """Save a notebook, and give it as it is on disk when it has what is wanted."""
        page.keyboard.press("Control+s")
        deadline = time.monotonic() + 30
        while wanted not in (text := (self.root / name).read_text(encoding="utf-8")):
            if time.monotonic() > deadline:
                pytest.fail("the notebook was not saved")
            time.sleep(0.2)
        return text


@pytest.fixture(scope="session")
def lab(tmp_path_factory, on_cluster):
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    root = tmp_path_factory.mktemp("lab")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {
        name: str(tmp_path_factory.mktemp(name.lower()))
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    }
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"),
            *(f"--port={port}", f"--notebook-dir={root}", "--IdentityProvider.token="),
            *("--LabApp.extension_manager=readonly", "--ServerApp.disable_check_xsrf=True"),
        ],
        env={**on_cluster, **folders},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _until_it_answers(f"http://127.0.0.1:{port}/api/status")
        yield Lab(f"http://127.0.0.1:{port}", root)
    finally:
        server.terminate()
        server.wait(timeout=30)


def _until_it_answers(address):
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(address, timeout=2).close()
            return
        if time.monotonic() > deadline:
            pytest.fail("JupyterLab did not start")
        time.sleep(0.2)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def person(browser):
    """Somebody whose browser keeps what it has loaded of JupyterLab."""
    context = browser.new_context(viewport={"width": 1280, "height": 3000})
    yield context
    context.close()


@pytest.fixture
def page(person, request):
    page = person.new_page()
    yield page
    page.close()
    if "lab" in request.fixturenames:
        request.getfixturevalue("lab").end_kernels()
