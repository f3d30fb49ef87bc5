"""DOT to SVG: by whichever renderer is there, and without an error where none is."""

from __future__ import annotations

import stat
import sys
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

import pytest
from gallery import HOSTILE, etl, merge, named, run_of
from hypothesis import given, settings
from hypothesis import strategies as st

from nbflow import Flow, group
from nbflow.notebook import render
from nbflow.notebook.draw import digraph
from nbflow.notebook.wording import printable

SVG = "{http://www.w3.org/2000/svg}"
DOT = "digraph { a -> b }"


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", lookup)


def program(path: Path, body: str) -> str:
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return str(path)


def texts(svg: str) -> list[str]:
    return [each.text or "" for each in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def drawn(flow: Flow) -> str:
    svg = render.svg(digraph(flow).source)
    assert svg is not None
    return svg


def test_the_packaged_renderer_is_found_without_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "graphviz-pure" in render.renderers()[0]
    assert (render.svg(DOT) or "").startswith("<svg ")


def test_nothing_of_the_renderer_itself_is_left_in_the_picture() -> None:
    svg = render.svg(DOT) or ""
    assert not any(each in svg for each in ("<!--", "<!DOCTYPE", "<?xml", "Generated", "graphviz"))


def test_png_is_given_too() -> None:
    assert (render.png(DOT) or b"").startswith(b"\x89PNG")


def test_without_the_package_the_dot_on_the_path_is_used(
    no_package: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(tmp_path / "dot", "print('<!-- mine --><svg>drawn by dot</svg>')")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert render.svg(DOT) == "<svg>drawn by dot</svg>\n"


def test_without_any_renderer_there_is_no_picture_and_no_error(
    no_package: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert render.svg("digraph { never -> drawn }") is None
    assert render.png("digraph { never -> drawn }") is None


def test_a_renderer_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chosen = program(tmp_path / "mine", "print('<svg>mine</svg>')")
    monkeypatch.setenv("NBFLOW_RENDERER", chosen)
    assert render.svg(DOT) == "<svg>mine</svg>\n"
    monkeypatch.setenv("NBFLOW_RENDERER", "none")
    assert render.svg(DOT) is None


@pytest.mark.parametrize(
    "body",
    ["raise SystemExit(3)", "", "import os; os.kill(os.getpid(), 9)"],
    ids=["fails", "silent", "dies"],
)
def test_a_renderer_that_fails_gives_no_picture(
    body: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NBFLOW_RENDERER", program(tmp_path / "bad", body))
    assert render.svg(DOT) is None


def test_a_renderer_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(render, "_TIMEOUT", 0.3)
    slow = program(tmp_path / "slow", "import time; time.sleep(60)")
    monkeypatch.setenv("NBFLOW_RENDERER", slow)
    assert render.svg(DOT) is None


def test_a_renderer_that_is_not_there_gives_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBFLOW_RENDERER", "/no/such/program")
    assert render.svg(DOT) is None


def test_dot_that_is_wrong_gives_no_picture() -> None:
    assert render.svg("this is not DOT {") is None


def test_warnings_of_the_renderer_are_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    drawn(group(named("日本語 ✓").s()) >> merge)
    assert capfd.readouterr() == ("", "")


def test_hostile_names_are_shown_as_they_are_in_valid_xml() -> None:
    svg = drawn(group(*(named(name).s() for name in HOSTILE)) >> merge)
    shown = {"".join(text.split()) for text in texts(svg)}
    assert {"".join(printable(name, 32).split()) for name in HOSTILE} <= shown
    kinds = {element.tag.removeprefix(SVG) for element in ElementTree.fromstring(svg).iter()}
    assert kinds <= {"svg", "g", "title", "path", "polygon", "ellipse", "text", "a", "polyline"}


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=30).filter(lambda name: name.strip() and "\0" not in name))
def test_any_name_is_shown_as_it_is(name: str) -> None:
    svg = drawn(named(name) >> merge)
    assert "".join(printable(name, 32).split()) in {"".join(text.split()) for text in texts(svg)}


def test_no_style_sheet_and_no_script_is_part_of_a_picture() -> None:
    flow = etl()
    svg = render.svg(digraph(flow, state=run_of(flow)).source) or ""
    assert "<style" not in svg
    assert "<script" not in svg
    assert " style=" not in svg


def test_the_name_stands_out_from_what_is_said_below_it() -> None:
    flow = etl()
    root = ElementTree.fromstring(render.svg(digraph(flow, state=run_of(flow)).source) or "")
    name, said = next(
        list(node.iter(f"{SVG}text")) for node in root.iter() if node.get("class") == "node"
    )
    assert name.get("font-weight") == "bold"
    assert float(said.get("font-size") or 0) < float(name.get("font-size") or 0)
