"""The gallery: each of its figures is what the code above it draws, byte for byte."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
MOST_OF_ALL, MOST_OF_A_SCREENSHOT = 1_000_000, 150_000


@pytest.fixture(scope="module")
def makers():
    spec = importlib.util.spec_from_file_location("figures", DOCS / "figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_figures_are_what_the_code_beside_them_draws(makers, cluster):
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    made = dict(makers.figures(page))

    assert len(made) > 20
    assert list(made) == re.findall(r"\]\((images/[^)]+)\)", page)
    for path, svg in made.items():
        kept = (DOCS / path).read_text(encoding="utf-8")
        assert svg == kept, f"{path} is another now; python docs/figures.py writes it"


def test_the_figure_of_the_readme_is_what_the_main_notebook_shows(makers):
    assert makers.flights() == (DOCS / makers.FLIGHTS).read_text(encoding="utf-8")


def test_figures_bring_nothing_that_a_page_would_not_show():
    for file in sorted((DOCS / "images").glob("*.svg")):
        text = file.read_text(encoding="utf-8")
        assert text.startswith("<svg ")
        assert not re.search(r"<style|<script|<image|href|url\(|on\w+=", text), file.name


def test_images_are_all_used_and_small():
    pages = [DOCS.parent / "README.md", *DOCS.glob("*.md")]
    text = "".join(each.read_text(encoding="utf-8") for each in pages)
    files = sorted((DOCS / "images").iterdir())

    assert [each.name for each in files if f"images/{each.name})" not in text] == []
    assert sum(each.stat().st_size for each in files) < MOST_OF_ALL
    for each in files:
        assert each.suffix == ".svg" or each.stat().st_size < MOST_OF_A_SCREENSHOT, each.name
