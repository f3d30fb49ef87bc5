"""What the package offers, what importing it costs, and that its examples are true."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys

import pytest

import nbflow

# Changing this list is changing the interface: it needs a line in the changelog.
PUBLIC = [
    *("step", "param", "Step", "Flow"),
    *("chain", "group", "chord", "chunks", "starmap", "branch", "switch"),
    *("Retry", "TryAgain", "context"),
    *("connect", "last_run", "runs", "load", "prune", "Run"),
    *("NbflowError", "FlowError", "SignatureError", "CycleError", "UnknownStepError"),
    *("ParamError", "UnsupportedError", "TransferError", "ClusterError", "RunError"),
    *("RunTimeoutError", "RunCancelledError", "StoreError", "RunNotFoundError"),
    "IdempotencyError",
]

MODULES = sorted(
    each.name
    for each in pkgutil.walk_packages(nbflow.__path__, "nbflow.")
    # Each of these is a program.
    if each.name not in ("nbflow.__main__", "nbflow.worker.child", "nbflow.worker.preload")
)

HEAVY = {
    *("dask", "distributed", "pandas", "pyarrow", "IPython", "ipywidgets", "graphviz", "numpy"),
    *("cloudpickle", "tblib", "matplotlib", "polars", "sqlite3"),
}


def test_the_interface_is_frozen():
    assert nbflow.__all__ == PUBLIC
    assert len(set(PUBLIC)) == len(PUBLIC)


def test_everything_public_is_there_and_explained():
    for name in PUBLIC:
        value = getattr(nbflow, name)
        assert value.__doc__, name
        assert name in dir(nbflow)
    assert nbflow.__version__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nbflow.nothing


def test_importing_loads_nothing_heavy():
    code = (
        "import sys, json; import nbflow; "
        "from nbflow import step, param, group, chain, Flow; "
        "flow = [step(len).s('ab'), 3] >> step(sum); assert flow.call() == 5; "
        "hash(flow); repr(flow); assert flow == flow.options(); "
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(json.loads(done.stdout))
    assert "nbflow" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_are_true(name):
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.FAIL_FAST)
    assert failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    count = sum(
        len(test.examples)
        for name in MODULES
        for test in finder.find(importlib.import_module(name))
    )
    assert count >= 25


@pytest.mark.parametrize("name", MODULES)
def test_everything_without_an_underscore_has_a_docstring(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for key, value in vars(module).items():
        if key.startswith("_") or getattr(value, "__module__", None) != name:
            continue
        if inspect.isfunction(value) or inspect.isclass(value):
            assert value.__doc__, key
        if inspect.isclass(value):
            for method, its in vars(value).items():
                if inspect.isfunction(its) and not method.startswith("_"):
                    assert its.__doc__, f"{key}.{method}"


def test_the_readme_of_the_package_is_its_docstring():
    assert nbflow.__doc__.startswith("Compose ETL steps")
