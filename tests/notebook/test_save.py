"""Pictures and reports as files: in which form says the ending, whole or not at all."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nbflow import branch, group, param, step
from nbflow.errors import FlowError, UnknownStepError
from nbflow.notebook import render
from nbflow.notebook.pdf import pdf, unwritable
from nbflow.notebook.saving import ENDINGS
from nbflow.notebook.style import LOOKS

MAGIC = {".svg": b"<svg ", ".png": b"\x89PNG", ".pdf": b"%PDF-", ".html": b"<!DOCTYPE html>"}


@step
def load(n):
    return [n]


@step
def clean(rows):
    return rows


@step
def merge(parts):
    return parts


ETL = [load.s(1) >> clean, load.s(2)] >> merge
ALL = [load.s(1) >> clean.map(), param("day") >> clean] >> merge >> branch(len, clean, step(str))


def text_of(content: bytes) -> str:
    """Read what a PDF says, of the letters that need no font of signs."""
    streams = re.findall(rb"stream\n(.*?)\nendstream", content, re.DOTALL)
    drawn = zlib.decompress(streams[0]).decode("latin-1")
    shown = re.findall(r"/(F[12]) \S+ Tf <([0-9a-f]*)> Tj", drawn)
    return " ".join(bytes.fromhex(each).decode("cp1252") for _, each in shown)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("flow", [ETL, ALL, group()], ids=["etl", "all", "empty"])
def test_a_flow_is_saved_in_the_form_that_the_ending_names(flow, ending, tmp_path):
    made = flow.save(tmp_path / f"etl{ending}")

    assert made == tmp_path / f"etl{ending}"
    content = made.read_bytes()
    assert content.startswith(MAGIC.get(ending, b""))
    if ending == ".dot":
        assert content.decode() == flow.to_dot()
    if ending == ".mmd":
        assert content.decode() == flow.to_mermaid()
    if ending == ".svg":
        assert content.decode() == flow.show(hover=True).svg
    assert [each.name for each in tmp_path.iterdir()] == [made.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_options_are_those_of_show(ending, tmp_path):
    whole = ETL.save(tmp_path / f"a{ending}").read_bytes()
    near = ETL.save(tmp_path / f"b{ending}", focus="clean", hops=0, direction="TB").read_bytes()

    assert near != whole
    with pytest.raises(FlowError, match="'direction' is 'up'"):
        ETL.save(tmp_path / f"c{ending}", direction="up")
    with pytest.raises(FlowError, match="no drawing option 'focsu'; did you mean 'focus'"):
        ETL.save(tmp_path / f"c{ending}", focsu="clean")
    with pytest.raises(UnknownStepError, match="no step 'claen'"):
        ETL.save(tmp_path / f"c{ending}", focus="claen")
    assert not (tmp_path / f"c{ending}").exists()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_run_is_saved_as_its_picture_or_its_report(ending, cluster, tmp_path):
    run = ETL.run()

    content = run.save(tmp_path / f"run{ending}").read_bytes()

    assert content.startswith(MAGIC.get(ending, b""))
    if ending in (".svg", ".dot"):
        assert "✓" in content.decode()
    if ending == ".mmd":
        assert f"fill:{LOOKS[run.status].fill}" in content.decode()
    if ending == ".html":
        assert "<table" in content.decode()
        assert run.id in content.decode()
    if ending == ".pdf":
        assert "clean" in text_of(content)


def test_a_picture_as_pdf_says_what_the_picture_says(tmp_path):
    svg = ALL.show().svg or ""
    said = text_of(ALL.save(tmp_path / "all.pdf").read_bytes())

    root = ElementTree.fromstring(svg)
    names = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert sorted(said.split()) == sorted(" ".join(filter(None, names)).split())


def test_the_parts_of_a_pdf_stand_where_its_table_says():
    content = pdf(ETL.show().svg or "")

    begins = [int(each) for each in re.findall(rb"^(\d{10}) 00000 n", content, re.MULTILINE)]
    for number, at in enumerate(begins, 1):
        assert content[at:].startswith(f"{number} 0 obj".encode())
    table = int(re.findall(rb"startxref\n(\d+)", content)[0])
    assert content[table:].startswith(b"xref")


def test_a_pdf_is_the_same_each_time(tmp_path):
    first = ETL.save(tmp_path / "a.pdf").read_bytes()
    assert ETL.save(tmp_path / "b.pdf").read_bytes() == first


def test_a_very_long_flow_fits_a_page_of_pdf(tmp_path):
    svg = '<svg width="30000pt" height="10pt" xmlns="http://www.w3.org/2000/svg">'
    svg += '<g transform="scale(1 1) rotate(0) translate(4 8)"></g></svg>'

    assert b"/MediaBox [0 0 14400 4.8] /UserUnit 2.083" in pdf(svg)


@pytest.mark.parametrize("name", ["clean_\N{GREEK SMALL LETTER LAMDA}", "数据清洗", "🎉"])
def test_what_pdf_cannot_write_is_an_error_that_says_so(name, tmp_path):
    flow = load.s(1) >> step(abs, name=name)
    assert unwritable(flow.show().svg or "")

    with pytest.raises(FlowError, match=r"fonts of PDF lack .*save it as \.svg or \.html"):
        flow.save(tmp_path / "flow.pdf")
    assert name in flow.save(tmp_path / "flow.svg").read_text(encoding="utf-8")


def test_signs_that_the_packaged_fonts_lack_are_no_boxes(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    flow = load.s(1) >> step(abs, name="数据清洗")

    with pytest.raises(FlowError, match=r"lack signs of a name.*install Graphviz"):
        flow.save(tmp_path / "flow.png")
    plain = 'digraph { a [label="%s done"] }'
    assert render.png(plain % "✓") == render.png(plain % "\N{SQUARE ROOT}") is not None


@pytest.mark.parametrize("look", LOOKS.values(), ids=map(str, LOOKS))
def test_no_sign_of_a_status_is_missing_in_png_and_pdf(look, monkeypatch):
    monkeypatch.setenv("PATH", "")
    dot = f'digraph {{ a [label="{look.sign}"] }}'

    assert render.png(dot)
    assert unwritable(render.svg(dot) or "") == ""


def test_without_a_renderer_what_needs_none_is_saved(monkeypatch, tmp_path):
    monkeypatch.setenv("NBFLOW_RENDERER", "none")

    for ending in (".dot", ".mmd", ".html"):
        assert ETL.save(tmp_path / f"etl{ending}").stat().st_size
    for ending in (".svg", ".png", ".pdf"):
        with pytest.raises(FlowError, match=r"no renderer works here.*graphviz-pure"):
            ETL.save(tmp_path / f"etl{ending}")


def test_other_endings_are_errors_that_say_which_there_are(tmp_path):
    with pytest.raises(FlowError, match=r"ends in '\.jpg'.*\.svg, \.png, .*\.mmd"):
        ETL.save(tmp_path / "etl.jpg")
    with pytest.raises(FlowError, match="'etl' has no ending"):
        ETL.save(tmp_path / "etl")
    assert ETL.save(tmp_path / "ETL.SVG").exists()


def test_what_is_no_place_for_a_file_is_an_error(tmp_path):
    with pytest.raises(FlowError, match="there is no folder .*missing'; make it"):
        ETL.save(tmp_path / "missing" / "etl.svg")
    (tmp_path / "dir.svg").mkdir()
    with pytest.raises(FlowError, match=r"dir\.svg' is a folder"):
        ETL.save(tmp_path / "dir.svg")
    for wrong in (None, 3, b"etl.svg"):
        with pytest.raises(FlowError, match="expected is a path"):
            ETL.save(wrong)
    with pytest.raises(FlowError, match="is no path of a file"):
        ETL.save("a\0b.svg")


def test_home_is_meant_by_its_sign(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    assert ETL.save("~/etl.dot") == tmp_path / "etl.dot"


def test_a_link_stays_one(tmp_path):
    file, link = tmp_path / "real.dot", tmp_path / "link.dot"
    file.write_text("old")
    link.symlink_to(file)

    ETL.save(link)

    assert link.is_symlink()
    assert file.read_text() == ETL.to_dot()


def test_what_was_there_stays_if_nothing_can_be_written(monkeypatch, tmp_path):
    (tmp_path / "etl.svg").write_text("old")

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(FlowError, match="cannot be written: Permission denied"):
        ETL.save(tmp_path / "etl.svg")
    assert (tmp_path / "etl.svg").read_text() == "old"
    assert os.listdir(tmp_path) == ["etl.svg"]


def test_a_file_has_the_rights_of_any_other(tmp_path):
    (tmp_path / "other").write_text("")

    made = ETL.save(tmp_path / "etl.svg")

    assert made.stat().st_mode == (tmp_path / "other").stat().st_mode
