"""What is said of stores that are behind a URL: whose they are, and what they cannot do."""

from __future__ import annotations

import warnings
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from nbflow import StoreError, step
from nbflow.record.archive import Archive
from nbflow.record.tenancy import mark, others
from nbflow.running import launch


@step
def look() -> int:
    return 1


@step(effect=True)
def charge() -> int:
    return 1


class Elsewhere(MemoryFileSystem):
    """A file system of which nobody knows whether it makes a file only if there is none."""

    protocol = ("elsewhere",)
    store: dict = {}
    pseudo_dirs = [""]


fsspec.register_implementation("elsewhere", Elsewhere, clobber=True)


def at(folder: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> Archive:
    monkeypatch.setenv("NBFLOW_STORE", str(folder))
    return Archive.of(url)


def test_each_journal_sees_the_marks_of_the_others(tmp_path, monkeypatch):
    first = at(tmp_path / "first", monkeypatch, "memory://marks")
    second = at(tmp_path / "second", monkeypatch, "memory://marks")
    mark(first)
    mark(first)
    mark(second)

    [(path, place)] = others(first).items()

    assert path.startswith("journals/")
    assert str(tmp_path / "second") in place
    assert len(others(second)) == 1
    first.store.files.remove(path)
    assert others(first) == {}


def test_a_journal_is_the_same_where_its_folder_is_moved(tmp_path, monkeypatch):
    mark(at(tmp_path / "before", monkeypatch, "memory://moved"))
    (tmp_path / "before").rename(tmp_path / "after")

    assert others(at(tmp_path / "after", monkeypatch, "memory://moved")) == {}


def test_a_mark_that_cannot_be_read_is_a_mark(tmp_path, monkeypatch):
    archive = at(tmp_path / "first", monkeypatch, "memory://unreadable")
    archive.store.files.create("journals/other", b"{}")

    assert others(archive) == {"journals/other": "a journal nobody knows"}


def test_a_folder_is_its_own_journals(tmp_path):
    archive = Archive.of(tmp_path)

    mark(archive)

    assert others(archive) == {}
    assert list(tmp_path.iterdir()) == []


def test_effects_where_two_may_claim_the_same_are_warned_of_once(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "_warned", False)
    monkeypatch.setenv("NBFLOW_STORE", str(tmp_path))
    topology = charge.s().topology

    with pytest.warns(RuntimeWarning, match="'elsewhere://x' is not known to .* both may run"):
        launch._archive("elsewhere://x", topology, asked=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        launch._archive("elsewhere://y", topology, asked=True)


@pytest.mark.parametrize("store", ["memory://x", "folder"])
def test_effects_where_only_one_can_claim_are_not_warned_of(store, tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "_warned", False)
    monkeypatch.setenv("NBFLOW_STORE", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        launch._archive(store if "://" in store else tmp_path / store, charge.s().topology, True)


def test_steps_without_effects_are_not_warned_of(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "_warned", False)
    monkeypatch.setenv("NBFLOW_STORE", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        launch._archive("elsewhere://x", look.s().topology, asked=True)


def test_a_store_that_cannot_be_read_says_so(tmp_path, monkeypatch):
    archive = at(tmp_path / "first", monkeypatch, "memory://broken")

    def fail(folder):
        raise TimeoutError("no answer")

    monkeypatch.setattr(archive.store.files, "names", fail)

    with pytest.raises(StoreError, match="cannot look for the marks of journals .* no answer"):
        others(archive)
