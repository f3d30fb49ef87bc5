"""What the store gives back is what was written, or an error that says what to do."""

from __future__ import annotations

import os
import pickle
import random
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import Point

from nbflow.errors import StoreError
from nbflow.store.store import Store
from nbflow.values.payload import encoded

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(params=["folder", "file://", "memory://"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    match request.param:
        case "folder":
            yield Store(tmp_path / "store")
        case "file://":
            yield Store(f"file://{tmp_path}/store")
        case _:
            url = f"memory://{tmp_path.name}"
            yield Store(url)
            # Not there where a test has written nothing.
            with suppress(FileNotFoundError):
                fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


def file_of(store: Store, hashed: str) -> Path:
    return Path(store.url) / "payloads" / hashed[:2] / hashed


def left(store: Store) -> list[Path]:
    return list((Path(store.url) / "incoming").iterdir())


LARGE = np.random.default_rng(0).random(1_000_000)


# --- what goes in comes out ---


@pytest.mark.parametrize(
    "value", [None, {"a": (1, 2)}, Point(1, 2), pd.DataFrame({"a": [1, 2]}), LARGE, "x" * 5_000_000]
)
def test_a_value_comes_back(any_store: Store, value: Any) -> None:
    # Point can only be a pickle; the file system in memory is this process's own.
    kept = any_store.save(value)
    again = pickle.loads(pickle.dumps(any_store))
    found = again.load(kept.hash)
    assert type(found) is type(value)
    assert (
        np.array_equal(found, value) if isinstance(value, np.ndarray) else str(found) == str(value)
    )
    assert kept.hash in any_store
    assert any_store.is_intact(kept.hash)
    assert list(any_store.hashes()) == [kept.hash]
    assert any_store.nbytes() == any_store.nbytes(kept.hash) == kept.nbytes
    assert any_store.collect(grace=0) == 0


def test_what_is_read_can_be_changed_and_the_file_stays(any_store: Store) -> None:
    kept = any_store.save(LARGE)
    any_store.load(kept.hash)[0] = 7
    assert any_store.load(kept.hash)[0] == LARGE[0]


def test_a_deleted_value_is_missing(any_store: Store) -> None:
    kept, other = any_store.save(1), any_store.save(2)
    assert any_store.delete(kept.hash)
    assert not any_store.delete(kept.hash)
    assert kept.hash not in any_store
    assert not any_store.is_intact(kept.hash)
    for ask in (any_store.load, any_store.read, any_store.nbytes):
        with pytest.raises(
            StoreError, match=rf"missing from the store .*{kept.hash}.*Run the step"
        ):
            ask(kept.hash)
    assert list(any_store.hashes()) == [other.hash]


def test_what_is_in_use_is_not_deleted(any_store: Store) -> None:
    kept = any_store.save([1])
    assert not any_store.delete(kept.hash, unused_for=3_600)
    assert any_store.load(kept.hash) == [1]


def test_what_is_wanted_again_is_young_again(store: Store) -> None:
    kept = store.save([1])
    os.utime(file_of(store, kept.hash), (0, 0))
    store.save([1])
    assert not store.delete(kept.hash, unused_for=3_600)
    os.utime(file_of(store, kept.hash), (0, 0))
    assert store.delete(kept.hash, unused_for=3_600)


@pytest.mark.parametrize("value", [[1, 2], LARGE], ids=["small", "large"])
def test_what_is_there_is_not_written_again(store: Store, value: Any) -> None:
    kept = store.save(value)
    inode = file_of(store, kept.hash).stat().st_ino
    assert store.save(value) == kept
    assert file_of(store, kept.hash).stat().st_ino == inode
    assert left(store) == []


def test_an_empty_store_is_not_made_by_reading(tmp_path: Path) -> None:
    store = Store(tmp_path / "none")
    assert list(store.hashes()) == []
    assert store.nbytes() == store.collect() == 0
    assert "0" * 64 not in store
    assert not (tmp_path / "none").exists()


def test_what_is_no_hash_names_nothing(any_store: Store) -> None:
    for name in ("", "../../etc/passwd", "0" * 63, "G" * 64, 3, None, "0" * 64 + "\n"):
        assert name not in any_store
        with pytest.raises(StoreError, match="names no value"):
            any_store.load(name)  # type: ignore[arg-type]


def test_files_that_are_not_its_own_are_left_alone(store: Store) -> None:
    kept = store.save(1)
    for stray in ("payloads/notes.txt", f"payloads/zz/{kept.hash}", "payloads/ab/.DS_Store"):
        path = Path(store.url) / stray
        path.parent.mkdir(exist_ok=True)
        path.write_text("stray")
    assert list(store.hashes()) == [kept.hash]
    assert store.nbytes() == kept.nbytes


def test_a_relative_folder_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store("here")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    kept = store.save(1)
    assert (tmp_path / "here" / "payloads" / kept.hash[:2] / kept.hash).is_file()


# --- damage ---


def assert_never_served(store: Store, hashed: str) -> None:
    for ask in (store.load, store.read):
        with pytest.raises(StoreError, match=r"is damaged: the [\d,]+ bytes .* Run the step again"):
            ask(hashed)
    assert not store.is_intact(hashed)


@pytest.mark.parametrize(
    "value", [{"a": [1, "x"]}, pd.DataFrame({"a": [1.5], "b": ["x"]}), Point(1, 2)]
)
def test_a_file_that_is_cut_off_anywhere_is_never_served(store: Store, value: Any) -> None:
    hashed = store.save(value).hash
    path = file_of(store, hashed)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert_never_served(store, hashed)
    path.write_bytes(whole + b"\0")
    assert_never_served(store, hashed)
    assert store.save(value).hash == hashed
    assert path.read_bytes() == whole


@pytest.mark.parametrize("value", [{"a": [1, "x"]}, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("seed", range(8))
def test_a_flipped_bit_is_never_served_and_written_anew(
    any_store: Store, value: Any, seed: int
) -> None:
    kept = any_store.save(value)
    chance = random.Random(seed)
    data = any_store.read(kept.hash)
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    fs, root = fsspec.core.url_to_fs(any_store.url)
    fs.pipe_file(f"{root}/payloads/{kept.hash[:2]}/{kept.hash}", bytes(data))
    assert_never_served(any_store, kept.hash)
    assert any_store.save(value) == kept
    assert np.array_equal(any_store.load(kept.hash), value)


@settings(max_examples=50)
@given(data=st.binary(max_size=300))
def test_a_file_with_anything_else_in_it_is_never_served(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    store = Store(tmp_path_factory.mktemp("any"))
    hashed = store.save([1]).hash
    file_of(store, hashed).write_bytes(data)
    assert_never_served(store, hashed)


def test_one_value_in_the_place_of_another_is_never_served(store: Store) -> None:
    one, other = store.save(1).hash, store.save(2).hash
    file_of(store, one).write_bytes(file_of(store, other).read_bytes())
    assert_never_served(store, one)


@pytest.mark.parametrize("put", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_missing(store: Store, put: Callable[[Path], None]) -> None:
    hashed = store.save(1).hash
    file_of(store, hashed).unlink()
    put(file_of(store, hashed))
    with pytest.raises(StoreError, match="missing"):
        store.load(hashed)


def test_a_payload_of_an_unknown_codec_is_explained(store: Store) -> None:
    kept = store.write(encoded([1]))
    payload = encoded([1])
    data = b"".join(payload.chunks).replace(b'"codec":"json"', b'"codec":"yaml"')
    other = type(payload)("json", (memoryview(data),))
    assert store.write(other).hash != kept.hash
    with pytest.raises(StoreError, match=r"in the store .* cannot be read as a value.*yaml"):
        store.load(other.hash)


# --- killed writers ---


WRITER = """
import sys
import numpy as np
from nbflow.store.store import Store
store = Store(sys.argv[1])
rng = np.random.default_rng(int(sys.argv[2]))
print("ready", flush=True)
for _ in range(10_000):
    print(store.save(rng.random(int(rng.choice([10, 700_000])))).hash, flush=True)
"""


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_writer_leaves_nothing_half_done(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    told = []
    for attempt in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, store.url, str(seed * 100 + attempt)],
            stdout=subprocess.PIPE,
            text=True,
        )
        with writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            # Killed at any moment after so many values, by a thread that does not wait for it.
            told += [writer.stdout.readline().strip() for _ in range(chance.randrange(6))]
            moment = threading.Timer(chance.random() / 20, writer.kill)
            moment.start()
            told += [line.strip() for line in writer.stdout if line.endswith("\n")]
            moment.join()
        assert writer.returncode == -signal.SIGKILL
    for hashed in {*told, *store.hashes()}:
        assert store.is_intact(hashed)
        store.load(hashed)
    unfinished = len(left(store))
    assert store.collect() == 0
    assert store.collect(grace=0) == unfinished
    assert left(store) == []


def test_a_write_that_fails_on_its_way_leaves_nothing(any_store: Store) -> None:
    with pytest.raises(TypeError):
        any_store._files.put([b"half", object()], lambda: "payloads/half")
    assert any_store._files.size("payloads/half") is None
    assert any_store.collect(grace=0) == 0


def test_unfinished_files_are_collected_when_they_are_old(store: Store) -> None:
    kept = store.save(1)
    incoming = Path(store.url) / "incoming"
    (incoming / "old").write_bytes(b"half")
    (incoming / "young").write_bytes(b"half")
    os.utime(incoming / "old", (0, 0))
    assert store.collect() == 1
    assert [path.name for path in left(store)] == ["young"]
    assert list(store.hashes()) == [kept.hash]


def test_many_may_write_the_same_at_once(any_store: Store) -> None:
    barrier = threading.Barrier(8)

    def save(number: int) -> str:
        barrier.wait()
        return any_store.save(LARGE if number % 2 else [1]).hash

    with ThreadPoolExecutor(8) as pool:
        hashes = set(pool.map(save, range(8)))
    assert len(hashes) == 2
    assert set(any_store.hashes()) == hashes
    assert all(map(any_store.is_intact, hashes))
    assert any_store.collect(grace=0) == 0


def test_many_processes_may_write_the_same_at_once(store: Store) -> None:
    script = (
        "import sys; from nbflow.store.store import Store; import numpy as np; input();"
        "store = Store(sys.argv[1]);"
        "print([store.save(np.arange(n)).hash for n in (10, 900_000)])"
    )
    command = [sys.executable, "-c", script, store.url]
    pipe = subprocess.PIPE
    writers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(3)]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    told = {writer.communicate()[0] for writer in writers}
    assert len(told) == 1
    assert sorted(store.hashes()) == sorted(eval(told.pop()))
    assert all(map(store.is_intact, store.hashes()))
    assert left(store) == []


def test_a_value_that_fails_to_be_written_leaves_nothing(store: Store) -> None:
    with pytest.raises(StoreError, match="cannot be kept"):
        store.save(threading.Lock())
    assert not Path(store.url).exists()


# --- which store it is ---


def test_all_who_see_a_store_see_one_id(any_store: Store) -> None:
    drawn = any_store.id()
    again = pickle.loads(pickle.dumps(any_store))
    assert again.id() == any_store.id() == drawn
    assert again.has_id(drawn)
    assert not again.has_id("0" * 32)


def test_another_store_has_another_id(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    assert one.id() != other.id()
    assert not other.has_id(one.id())


def test_looking_for_an_id_draws_none(any_store: Store) -> None:
    assert not any_store.has_id("0" * 32)
    assert any_store.files.size("id") is None


def test_many_who_ask_for_the_id_at_once_are_told_one(any_store: Store) -> None:
    barrier = threading.Barrier(8)

    def ask(_: int) -> str:
        barrier.wait()
        return any_store.id()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1


@pytest.mark.parametrize("data", [b"", b"0" * 31, b"0" * 33, b"G" * 32, b"0" * 32 + b"\n"])
def test_an_id_that_is_damaged_is_said(any_store: Store, data: bytes) -> None:
    any_store.files.put([data], lambda: "id")
    for ask in (any_store.id, lambda: any_store.has_id("0" * 32)):
        with pytest.raises(StoreError, match=r"the file 'id' of the store .* Delete it"):
            ask()


def test_a_store_that_cannot_be_written_has_no_id(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="cannot draw an id in the store .*Move the file away"):
        Store(tmp_path / "file").id()


# --- files that are no values ---


def test_a_file_is_made_once(any_store: Store) -> None:
    files = any_store.files
    assert files.create("a/b", b"first")
    assert not files.create("a/b", b"second")
    assert bytes(files.get("a/b")) == b"first"


def test_names_are_those_directly_in_a_folder(any_store: Store) -> None:
    files = any_store.files
    for path in ("a/b/c", "a/d", "a/e", "ab/f"):
        files.put([b"x"], lambda path=path: path, durable=False)
    assert sorted(files.names("a")) == ["b", "d", "e"]
    assert files.names("a/b") == ["c"]
    assert files.names("none") == files.names("none/below") == []


def test_a_tree_goes_with_all_that_is_in_it_and_nothing_else(any_store: Store) -> None:
    files = any_store.files
    for path in ("a/b/c", "a/d", "ab/e"):
        files.put([b"x"], lambda path=path: path)
    files.remove_tree("a")
    assert files.names("a") == files.names("a/b") == list(files.walk("a")) == []
    assert bytes(files.get("ab/e")) == b"x"
    files.remove_tree("a")
    files.put([b"again"], lambda: "a/d")
    assert files.names("a") == ["d"]
    assert any_store.collect(grace=0) == 0


def test_a_file_that_need_not_last_is_there_as_a_whole(any_store: Store) -> None:
    files = any_store.files
    for data in (b"first", b"second"):
        files.put([data[:2], data[2:]], lambda: "a/b", durable=False)
        assert bytes(files.get("a/b")) == data
    with pytest.raises(TypeError):
        files.put([b"half", object()], lambda: "a/b", durable=False)
    assert bytes(files.get("a/b")) == b"second"
    assert any_store.collect(grace=0) == 0


# --- whose it is ---


def test_the_store_is_its_owners_alone(store: Store) -> None:
    hashed = store.save(1).hash
    path = file_of(store, hashed)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in (path.parent, path.parent.parent, Path(store.url), Path(store.url) / "incoming"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("where", ["root", "payloads", "two digits", "file"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_a_pickle_is_refused_where_others_may_write(store: Store, where: str, mode: int) -> None:
    kept, plain = store.save(Point(1, 2)), store.save([1])
    path = file_of(store, kept.hash)
    change = {"root": store.url, "payloads": path.parent.parent, "two digits": path.parent}
    target = Path(change.get(where, path))
    target.chmod(target.stat().st_mode | mode)
    with pytest.raises(StoreError, match=r"in the store .*kept as a pickle.*chmod.*trusted=True"):
        store.load(kept.hash)
    assert store.load(plain.hash) == [1]
    assert Store(store.url, trusted=True).load(kept.hash) == Point(1, 2)
    if where in ("root", "payloads"):
        with pytest.raises(StoreError, match=r"not written to the store .*chmod"):
            store.save(Point(3, 4))


@AS_ROOT
@pytest.mark.parametrize("where", ["root", "file"])
def test_a_pickle_of_another_user_is_refused(store: Store, where: str) -> None:
    kept, plain = store.save(Point(1, 2)), store.save([1])
    os.chown(store.url if where == "root" else file_of(store, kept.hash), 65534, 65534)
    with pytest.raises(StoreError, match="kept as a pickle"):
        store.load(kept.hash)
    assert store.load(plain.hash) == [1]


def test_pickles_may_be_refused_altogether(store: Store) -> None:
    hashed = store.save(Point(1, 2)).hash
    with pytest.raises(StoreError, match="kept as a pickle"):
        Store(store.url, trusted=False).load(hashed)


def test_a_copied_store_keeps_its_settings(tmp_path: Path) -> None:
    again = pickle.loads(pickle.dumps(Store(tmp_path, trusted=True, limit=10)))
    assert (again.url, again.trusted, again.limit) == (str(tmp_path), True, 10)


# --- places that cannot be written ---


def test_a_value_above_the_limit_is_refused_with_figures(tmp_path: Path) -> None:
    huge = np.broadcast_to(np.zeros(1), (625_000_000,))
    with pytest.raises(StoreError, match=r"takes about 5\.0 GB, and the limit .* 1\.0 GB"):
        Store(tmp_path, limit=1_000_000_000).save(huge)


def test_a_path_that_is_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match=r"there is a file where a folder .* Move the file"):
            Store(path).save(1)
    assert (tmp_path / "file").read_text() == "mine"


def test_an_unknown_protocol_is_explained() -> None:
    with pytest.raises(StoreError, match=r"'gopher://x' cannot be opened: .*Expected is a folder"):
        Store("gopher://x")


def test_a_protocol_whose_package_is_missing_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(StoreError, match=r"'gs://b/x' cannot be opened: .*gcsfs.*Install"):
        Store("gs://b/x")


def test_a_place_that_only_can_be_read_is_explained(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    with pytest.raises(
        StoreError, match=r"cannot keep a value in the store 'http://localhost:9/x'"
    ):
        Store("http://localhost:9/x", trusted=True).save(1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("count", [430_000, 1_000_000], ids=["small", "large"])
def test_a_full_disk_is_said_and_nothing_is_left(small_disk: Path, count: int) -> None:
    store = Store(small_disk)
    kept = store.save([1])
    with pytest.raises(
        StoreError, match=r"the disk is full\. Needed are .*MB are free\. Make room"
    ):
        store.save(LARGE[:count])
    assert left(store) == []
    assert list(store.hashes()) == [kept.hash]
    assert store.load(kept.hash) == [1]
    store.save([2])


def test_a_read_only_disk_is_said_and_can_be_read(small_disk: Path) -> None:
    store = Store(small_disk)
    kept = store.save([1])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for change in (lambda: store.save([2]), lambda: store.delete(kept.hash)):
        with pytest.raises(StoreError, match=r"it is not allowed .*Read-only.* choose another"):
            change()
    assert store.load(kept.hash) == [1]
    assert store.save([1]) == kept


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_said_and_can_be_read(store: Store) -> None:
    kept = store.save([1])
    for folder in (Path(store.url) / "incoming", file_of(store, kept.hash).parent):
        folder.chmod(0o500)
    with pytest.raises(StoreError, match="it is not allowed"):
        store.save([2])
    assert store.load(kept.hash) == [1]
