"""That there is a test for each row of the fault matrix, and as many cells as the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

# Of the matrix of faults that the design is measured against.
ROWS = 58
CELL = re.compile(r"row(\d+)-(M\d+)")
TOLD = re.compile(r"tries (\d+) faults, .*: (\d+) cells,")
PAGE = Path(__file__).parents[2] / "docs/reliability.md"


def test_each_row_of_the_fault_matrix_has_a_test(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    here = Path(__file__).parent
    tests = [item for item in request.session.items if item.path.parent == here]
    if {item.path for item in tests} != set(here.glob("test_*.py")):
        pytest.skip("only some of the files were asked for")
    found = [CELL.search(item.name) for item in tests]
    cells = {(int(each[1]), each[2]) for each in found if each}
    missing = set(range(1, ROWS + 1)) - {number for number, _ in cells}
    assert not missing, f"no test for rows {sorted(missing)}"
    assert TOLD.search(PAGE.read_text()).groups() == (str(ROWS), str(len(cells)))
    with capsys.disabled():
        print(f"\n{len(tests)} tests of {len(cells)} cells of all {ROWS} rows")
