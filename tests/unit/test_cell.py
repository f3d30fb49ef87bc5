"""A cell as a function: what it reads from outside, and what it gives."""

from __future__ import annotations

import asyncio
import pickle
import traceback

import cloudpickle
import pytest

from nbflow.errors import FlowError
from nbflow.notebook.cell import Cell, missing


def cell(body, name="made"):
    return Cell(name, f"# %%flow step {name}\n{body}", "<cell>")


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("raw", "raw"),
        ("made = raw.dropna()", "raw"),
        ("raw = raw.dropna()\nraw", "raw"),
        ("raw += 1\nraw", "raw"),
        ("x = 3\nx", ""),
        ("x = raw\ny = x + x\ny", "raw"),
        ("[x for x in raw]", "raw"),
        ("{x: y for x in raw for y in x}", "raw"),
        ("[raw for raw in raw]", "raw"),
        ("sorted(raw, key=lambda each: each + bonus)", "sorted raw bonus"),
        ("def f(x=raw): return x + other\nf()", "raw other"),
        ("def f(): return later\nlater = 3\nf()", ""),
        ("class A:\n    x = raw\n    y = x\nA", "__name__ raw"),
        ("import math\nmath.pi", ""),
        ("import os.path\nos", ""),
        ("from math import pi as p\np", ""),
        ("with raw as r:\n    x = r\nx", "raw"),
        ("for x in raw:\n    y = x\ny", "raw y"),
        ("if raw:\n    x = 1\nelse:\n    x = 2\nx", "raw"),
        ("if raw:\n    x = 1\nx", "raw x"),
        ("while raw:\n    raw = raw - 1\nraw", "raw"),
        ("try:\n    x = raw\nexcept ValueError as e:\n    x = e\nx", "raw ValueError"),
        ("try:\n    x = raw\nexcept ValueError:\n    pass\nx", "raw ValueError x"),
        ("(n := raw) + n", "raw"),
        ("del raw\n3", "raw"),
        ("match raw:\n    case [a, *b]:\n        x = a, b\n    case _:\n        x = 1\nx", "raw x"),
        ("x: int = raw\nx", "raw int"),
        ("a, *b = raw\nb", "raw"),
        ("f'{raw!r:>{width}}'", "raw width"),
        ("await raw", "raw"),
    ],
)
def test_finds_what_a_cell_reads_from_outside(body, names):
    found = cell(body).names

    # Of annotations, versions of Python differ in what they look up.
    assert set(found) - {"int", "sorted"} == set(names.split()) - {"int", "sorted"}


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("raw * 2", 6),
        ("made = raw + 1", 4),
        ("x = raw\nx + 1", 4),
        ("made = raw\nprint('done')", 3),
        ("made = raw\nif raw:\n    made = 7", 7),
        ("def made(x): return x\n", None),
        ("raw = raw + 1\nraw", 4),
        ("'just text'", "just text"),
        ("raw;", 3),
    ],
)
def test_its_value_is_the_last_expression_or_the_name(body, value, capsys):
    found = cell(body).function([n for n in cell(body).names if n == "raw"], [], {})(
        *([3] if "raw" in cell(body).names else [])
    )

    assert found == value or callable(found)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("x = 3", "gives no value; expected is an expression as its last line, or a value for"),
        ("print(3)", "gives no value"),
        ("x = (", r"line 2: '\(' was never closed"),
        ("return 3", "line 2: 'return' outside function"),
        ("1\nyield 3", "line 3: 'yield' outside function"),
        ("from math import *\npi", r"line 2: a step cannot import \*"),
        ("global x\nx = 3\nx", "line 2: 'global' means nothing on a worker"),
        ("# nothing", "the cell is empty"),
    ],
)
def test_says_in_one_line_why_a_cell_cannot_be_a_step(body, said):
    with pytest.raises(FlowError, match=said) as caught:
        _ = cell(body).names

    assert "\n" not in str(caught.value)


def test_a_name_that_is_defined_nowhere_is_refused():
    with pytest.raises(FlowError, match="'rew' is not defined; run the cell .* mean 'raw'"):
        missing(["rew"], {"raw": 1})
    missing(["len"], {})


def test_values_are_remembered_where_the_cell_gives_their_name_another_one():
    made = cell("count = count + raw\ncount").function(["raw"], ["count"], {"count": 10})

    assert made(3) == 13
    assert made(3) == 13


def test_the_traceback_leads_to_the_line_of_the_cell():
    made = cell("x = raw\n\n1 / x").function(["raw"], [], {})

    with pytest.raises(ZeroDivisionError) as caught:
        made(0)

    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.lineno, last.name) == ("<cell>", 4, "made")


def test_a_cell_that_awaits_is_a_coroutine():
    made = cell("x = await raw\nx + 1").function(["raw"], [], {})

    async def three():
        return 3

    assert asyncio.run(made(three())) == 4


def test_the_function_travels():
    scope = {"__name__": "__main__", "bonus": 5}
    made = cell("def add(x): return x + bonus\n[add(each) for each in raw]").function(
        ["raw"], [], scope
    )

    assert pickle.loads(cloudpickle.dumps(made))([1, 2]) == [6, 7]


def test_tells_functions_that_are_called_from_what_flows():
    made = cell("tidy(raw)")

    assert made.only_calls("tidy")
    assert not made.only_calls("raw")
