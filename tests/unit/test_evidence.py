"""What workers have left is there, whole, and one start of a task has each claim."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbflow.errors import StoreError
from nbflow.store import evidence as module
from nbflow.store.evidence import UNKNOWN, Claim, Evidence, beating
from nbflow.store.owner import Owner
from nbflow.store.store import Store

KEY, OTHER = "0" * 64, "ab" * 32
ELSEWHERE = Owner("another-machine", "boot", 7, 1.5, "abc")


def claim_of(token: str, attempt: int = 1, owner: Owner | None = None) -> Claim:
    return Claim(attempt, owner or Owner.here(), "tcp://127.0.0.1:1234", 1.25, token)


def key_of(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture(params=["folder", "memory://"])
def evidence(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Evidence]:
    url = tmp_path / "store" if request.param == "folder" else f"memory://{tmp_path.name}"
    evidence = Evidence(Store(url), "run-1")
    yield evidence
    evidence.remove()


@pytest.fixture
def local(tmp_path: Path) -> Evidence:
    return Evidence(Store(tmp_path / "store"), "run-1")


def folder_of(evidence: Evidence) -> Path:
    return Path(evidence.store.url) / "runs" / evidence.run


def incoming(evidence: Evidence) -> list[Path]:
    return list((Path(evidence.store.url) / "incoming").iterdir())


def until(fact: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def started(script: str, *arguments: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


# --- claims ---


def test_the_first_start_of_a_task_has_the_claim_and_no_other(evidence: Evidence) -> None:
    first, second = claim_of("first"), claim_of("second")
    assert evidence.claim(KEY, first)
    assert not evidence.claim(KEY, second)
    assert evidence.claims(KEY) == [first]


def test_who_asks_again_still_has_its_claim(evidence: Evidence) -> None:
    # Its first call may have failed on the way back.
    assert evidence.claim(KEY, claim_of("first"))
    assert evidence.claim(KEY, replace(claim_of("first"), at=2.5))
    assert evidence.claims(KEY) == [claim_of("first")]


def test_each_attempt_is_claimed_alone_and_they_are_listed_by_number(evidence: Evidence) -> None:
    for attempt in (10, 9, 1):
        assert evidence.claim(KEY, claim_of(f"t{attempt}", attempt))
    assert evidence.claim(OTHER, claim_of("other"))
    assert [claim.attempt for claim in evidence.claims(KEY)] == [1, 9, 10]
    assert evidence.claims(key_of(3)) == []


def test_a_copy_in_another_process_sees_the_same(evidence: Evidence) -> None:
    again = pickle.loads(pickle.dumps(evidence))
    evidence.claim(KEY, claim_of("a"))
    evidence.give_receipt(KEY, 1, b"paid")
    evidence.leave(1, 2, "a", 0, b"some")
    assert again.claims(KEY) == [claim_of("a")]
    assert again.receipt(KEY, 1) == b"paid"
    assert again.left(1, 2) == [b"some"]


def test_runs_do_not_see_each_other(evidence: Evidence) -> None:
    other = Evidence(evidence.store, "run-2")
    assert evidence.claim(KEY, claim_of("a"))
    assert other.claim(KEY, claim_of("b"))
    other.leave(1, 1, "b", 0, b"theirs")
    assert evidence.left(1, 1) == []
    evidence.remove()
    assert other.claims(KEY) == [claim_of("b")]
    other.remove()


@pytest.mark.parametrize(
    "key", ["", "../" * 21 + "x", "0" * 63, "G" * 64, "0" * 64 + "\n", 3, None]
)
def test_what_is_no_key_names_no_effect(local: Evidence, key: Any) -> None:
    for ask in (
        lambda: local.claim(key, claim_of("a")),
        lambda: local.claims(key),
        lambda: local.give_receipt(key, 1, b""),
        lambda: local.receipt(key, 1),
    ):
        with pytest.raises(StoreError, match="names no effect. Expected are the 64"):
            ask()
    assert not Path(local.store.url).exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", "-a", "a\n", "ä", 3, None])
def test_tokens_and_runs_are_names(local: Evidence, name: Any) -> None:
    with pytest.raises(StoreError, match="names no run"):
        Evidence(local.store, name)
    for ask in (
        lambda: local.claim(KEY, claim_of(name)),
        lambda: local.beat(name),
        lambda: local.leave(1, 1, name, 0, b""),
    ):
        with pytest.raises(StoreError, match="names no start of a task"):
            ask()
    assert not Path(local.store.url).exists()


def test_looking_makes_nothing(local: Evidence) -> None:
    assert local.claims(KEY) == local.left(1, 1) == local.doubts() == list(local.receipts()) == []
    assert local.receipt(KEY, 1) is None
    assert local.is_alive(claim_of("a", owner=ELSEWHERE))
    local.remove()
    assert not Path(local.store.url).exists()


RIVAL = """
import sys
from nbflow.store.evidence import Claim, Evidence
from nbflow.store.owner import Owner
from nbflow.store.store import Store
evidence = Evidence(Store(sys.argv[1]), "run-1")
owner = Owner.here()
print("ready", flush=True)
for number, _ in enumerate(sys.stdin):
    claim = Claim(1, owner, "tcp://127.0.0.1:1", 0.0, f"{sys.argv[2]}-{number}")
    print(evidence.claim(f"{number:064x}", claim), flush=True)
"""


def test_of_two_processes_at_once_one_has_the_claim(local: Evidence) -> None:
    rivals = [started(RIVAL, local.store.url, name) for name in "ab"]
    assert [told(rival) for rival in rivals] == ["ready", "ready"]
    wins = {"a": 0, "b": 0}
    for number in range(200):
        for rival in rivals if number % 2 else rivals[::-1]:
            tell(rival)
        answers = dict(zip("ab", (told(rival) for rival in rivals), strict=True))
        assert sorted(answers.values()) == ["False", "True"]
        winner = next(name for name, answer in answers.items() if answer == "True")
        assert [claim.token for claim in local.claims(key_of(number))] == [f"{winner}-{number}"]
        wins[winner] += 1
    for rival in rivals:
        rival.communicate()
    assert min(wins.values()) > 0
    assert incoming(local) == []


def race(evidence: Evidence, rounds: int, count: int = 8) -> None:
    barrier = threading.Barrier(count)

    def take(rival: int, number: int) -> bool:
        barrier.wait()
        return evidence.claim(key_of(number), claim_of(f"{rival}-{number}"))

    with ThreadPoolExecutor(count) as pool:
        for number in range(rounds):
            answers = list(pool.map(take, range(count), [number] * count))
            assert sum(answers) == 1
            (claim,) = evidence.claims(key_of(number))
            assert claim.token == f"{answers.index(True)}-{number}"


def test_of_many_threads_at_once_one_has_the_claim(
    evidence: Evidence, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(lambda interval=sys.getswitchinterval(): sys.setswitchinterval(interval))
    # They are changed at almost any step.
    sys.setswitchinterval(1e-6)
    race(evidence, 100)


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)


def test_where_a_file_has_only_one_name_one_has_the_claim(local: Evidence, no_links: None) -> None:
    # As on a FAT, which is made like this on no machine of ours.
    race(local, 100)
    assert incoming(local) == []


def test_a_link_whose_answer_was_lost_is_made(
    local: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def twice(*names: Any) -> None:
        # As NFS does when it has heard nothing.
        link(*names)
        link(*names)

    monkeypatch.setattr(os, "link", twice)
    assert local.store.files.create("made", b"1")
    assert not local.store.files.create("made", b"2")


HOLDER = """
import sys
from nbflow.store.evidence import Claim, Evidence
from nbflow.store.owner import Owner
from nbflow.store.store import Store
evidence = Evidence(Store(sys.argv[1]), "run-1")
assert evidence.claim("0" * 64, Claim(1, Owner.here(), "tcp://127.0.0.1:1", 0.0, "held"))
print("claimed", flush=True)
sys.stdin.readline()
evidence.give_receipt("0" * 64, 1, b"paid")
"""


def test_a_process_killed_between_claim_and_receipt_leaves_a_doubt(local: Evidence) -> None:
    with started(HOLDER, local.store.url) as holder:
        assert told(holder) == "claimed"
        (claim,) = local.claims(KEY)
        assert claim.owner.pid == holder.pid
        assert local.is_alive(claim)
        os.kill(holder.pid, signal.SIGSTOP)
        assert local.is_alive(claim)
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert local.claims(KEY) == [claim]
        assert not local.is_alive(claim)
        assert local.receipt(KEY, 1) is None
        assert local.doubts() == [(KEY, claim)]
        assert not local.claim(KEY, claim_of("again"))


def test_a_process_that_ends_well_leaves_a_receipt(local: Evidence) -> None:
    with started(HOLDER, local.store.url) as holder:
        assert told(holder) == "claimed"
        holder.communicate("\n")
    assert local.receipt(KEY, 1) == b"paid"
    assert local.doubts() == []


# Forks and kills fifty children, each at any moment.
KILLED = """
import itertools, os, random, signal, sys, time
from nbflow.store.evidence import Claim, Evidence
from nbflow.store.owner import Owner
from nbflow.store.store import Store
evidence = Evidence(Store(sys.argv[1]), "run-1")
chance = random.Random(0)
done, doing = os.pipe()
for child in range(50):
    pid = os.fork()
    if not pid:
        for number in itertools.count():
            token = f"{child}-{number}"
            claim = Claim(1, Owner.here(), "tcp://127.0.0.1:1", 0.0, token)
            evidence.claim(f"{child:032x}{number:032x}", claim)
            os.write(doing, b".")
    for _ in range(chance.randrange(1, 6)):
        os.read(done, 1)
    time.sleep(chance.random() / 500)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.set_blocking(done, False)
    try:
        os.read(done, 10_000)
    except BlockingIOError:
        pass
    os.set_blocking(done, True)
"""


def test_a_claim_that_is_there_is_whole_whenever_its_process_was_killed(local: Evidence) -> None:
    subprocess.run([sys.executable, "-c", KILLED, local.store.url], check=True)
    files = [path for path in (folder_of(local) / "claims").rglob("*") if path.is_file()]
    assert len(files) >= 50
    for path in files:
        told = json.loads(path.read_bytes())
        assert sorted(told) == ["at", "attempt", "owner", "token", "worker"]
    doubts = local.doubts()
    assert len(doubts) == len(files)
    for key, claim in doubts:
        assert claim.token == f"{int(key[:32], 16)}-{int(key[32:], 16)}"
        assert not local.is_alive(claim)
    unfinished = len(incoming(local))
    assert local.store.collect(grace=0) == unfinished


# Forks a child that kills itself before a line of these files, and at the next call before
# the next line.
AT_EACH_LINE = """
import os, signal, sys
from nbflow.store.evidence import Claim, Evidence
from nbflow.store.owner import Owner
from nbflow.store.store import Store
FILES = ("folder.py", "evidence.py", "shutil.py")
KEYS = "0" * 64, "1" * 64
evidence = Evidence(Store(sys.argv[1]), "run-1")
line = 0

def killed_at_the_next_line(call):
    global line
    line += 1
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] == 0
    left = line
    def watch(frame, event, arg):
        nonlocal left
        if frame.f_code.co_filename.endswith(FILES) and event == "line":
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
        return watch
    sys.settrace(watch)
    call()
    sys.settrace(None)
    os._exit(0)
"""


CLAIMING = """
seen = set()
while True:
    key = f"{line:064x}"
    claim = Claim(1, Owner.here(), "tcp://127.0.0.1:1", 0.0, f"line-{line}")
    is_over = killed_at_the_next_line(lambda: evidence.claim(key, claim))
    assert evidence.claims(key) in ([], [claim]), line
    seen.add(bool(evidence.claims(key)))
    if is_over:
        assert evidence.claims(key) == [claim]
        assert seen == {False, True}
        break
print(line)
"""


def test_a_claim_is_there_as_a_whole_at_whatever_line_it_was_killed(local: Evidence) -> None:
    command = [sys.executable, "-c", AT_EACH_LINE + CLAIMING, local.store.url]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(ended.stdout) > 20


# --- damage ---


def plain() -> st.SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    names = st.sampled_from(["attempt", "owner", "worker", "at", "token", "pid", "host", "began"])
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner)
    )


@settings(max_examples=100)
@given(data=st.binary(max_size=100) | plain().map(lambda value: json.dumps(value).encode()))
def test_a_claim_that_cannot_be_read_is_that_of_a_dead_stranger(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    local = Evidence(Store(tmp_path_factory.mktemp("any")), "run-1")
    assert local.claim(KEY, claim_of("mine"))
    (folder_of(local) / "claims" / KEY / "1").write_bytes(data)
    (claim,) = local.claims(KEY)
    assert (claim.attempt, claim.owner) == (1, UNKNOWN)
    assert not local.is_alive(claim)
    assert not local.claim(KEY, claim_of("mine"))
    assert local.doubts() == [(KEY, claim)]


@pytest.mark.parametrize(
    "change", [{"attempt": 2}, {"owner": {"pid": 0}}, {"token": "../x"}, {"at": None}]
)
def test_a_claim_that_says_what_cannot_be_is_that_of_a_stranger(
    local: Evidence, change: dict[str, Any]
) -> None:
    local.claim(KEY, claim_of("mine"))
    path = folder_of(local) / "claims" / KEY / "1"
    about = json.loads(path.read_bytes())
    owner = {**about["owner"], **change.pop("owner", {})}
    path.write_text(json.dumps({**about, "owner": owner, **change}))
    (claim,) = local.claims(KEY)
    assert (claim.attempt, claim.owner) == (1, UNKNOWN)


def test_a_receipt_that_was_cut_off_anywhere_is_none(local: Evidence) -> None:
    local.claim(KEY, claim_of("a"))
    local.give_receipt(KEY, 1, b"paid")
    local.leave(1, 1, "a", 0, b"some")
    receipts = folder_of(local) / "receipts"
    paths = [receipts / "effects" / KEY / "1", receipts / "segments/1/1/a-0"]
    assert sorted(local.receipts()) == [b"paid", b"some"]
    wholes = [path.read_bytes() for path in paths]
    for end in [*range(len(wholes[0])), None]:
        for path, whole in zip(paths, wholes, strict=True):
            path.write_bytes(whole + b"\0" if end is None else whole[:end])
        assert local.receipt(KEY, 1) is None
        assert local.left(1, 1) == list(local.receipts()) == []
        assert [key for key, _ in local.doubts()] == [KEY]
    for path, whole in zip(paths, wholes, strict=True):
        path.write_bytes(whole)
    assert sorted(local.receipts()) == [b"paid", b"some"]


def test_a_flipped_bit_makes_a_receipt_none(evidence: Evidence) -> None:
    evidence.give_receipt(KEY, 1, b"paid")
    path = f"runs/run-1/receipts/effects/{KEY}/1"
    whole = evidence.store.files.get(path)
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        evidence.store.files.put([data], lambda: path)
        assert evidence.receipt(KEY, 1) is None
    evidence.give_receipt(KEY, 1, b"paid")
    assert evidence.receipt(KEY, 1) == b"paid"


def test_a_receipt_in_the_place_of_another_is_none(local: Evidence) -> None:
    local.give_receipt(KEY, 1, b"paid")
    mine = folder_of(local) / "receipts" / "effects" / KEY / "1"
    mine.with_name("2").write_bytes(mine.read_bytes())
    assert local.receipt(KEY, 2) is None
    other = Evidence(local.store, "run-2")
    folder_of(local).rename(folder_of(other))
    assert other.receipt(KEY, 1) is None
    assert list(other.receipts()) == []


@pytest.mark.parametrize("put", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_no_receipt(local: Evidence, put: Callable[[Path], None]) -> None:
    local.give_receipt(KEY, 1, b"paid")
    path = folder_of(local) / "receipts" / "effects" / KEY / "1"
    path.unlink()
    put(path)
    assert local.receipt(KEY, 1) is None


# --- receipts ---


@given(packed=st.binary(max_size=1_000))
def test_a_receipt_is_any_bytes(packed: bytes) -> None:
    evidence = Evidence(Store("memory://any-bytes"), "run-1")
    evidence.give_receipt(KEY, 3, packed)
    evidence.leave(0, 0, "a", 0, packed)
    assert evidence.receipt(KEY, 3) == packed
    assert evidence.left(0, 0) == [packed]
    evidence.remove()


def test_what_a_segment_has_left_comes_by_token_and_number(evidence: Evidence) -> None:
    for token, number in [("b", 2), ("b", 10), ("a", 1), ("b-c", 0), ("a", 0)]:
        evidence.leave(3, 7, token, number, f"{token} {number}".encode())
    evidence.leave(3, 70, "a", 0, b"of another segment")
    evidence.leave(4, 7, "a", 0, b"of another epoch")
    assert evidence.left(3, 7) == [b"a 0", b"a 1", b"b 2", b"b 10", b"b-c 0"]
    assert evidence.left(3, 8) == []


def test_all_receipts_come_oldest_epoch_first(evidence: Evidence) -> None:
    for epoch, segment in [(10, 0), (2, 11), (2, 2)]:
        evidence.leave(epoch, segment, "a", 0, f"{epoch} {segment}".encode())
    evidence.give_receipt(OTHER, 1, b"other")
    evidence.give_receipt(KEY, 10, b"tenth")
    evidence.give_receipt(KEY, 9, b"ninth")
    assert list(evidence.receipts()) == [b"ninth", b"tenth", b"other", b"2 2", b"2 11", b"10 0"]


def test_what_is_put_between_by_others_is_passed_over(local: Evidence) -> None:
    local.claim(KEY, claim_of("a"))
    local.give_receipt(KEY, 1, b"paid")
    local.leave(1, 1, "a", 0, b"some")
    for stray in (
        f"claims/{KEY}/notes.txt",
        "claims/readme/1",
        f"claims/{KEY}/2/1",
        f"receipts/effects/{KEY}/.nfs0001",
        "receipts/segments/1/1/a-0.bak",
        "receipts/segments/1/.DS_Store",
        "receipts/segments/1/1/deep/a-0",
    ):
        path = folder_of(local) / stray
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("stray")
    assert [claim.token for claim in local.claims(KEY) if claim.attempt == 1] == ["a"]
    assert local.left(1, 1) == [b"some"]
    assert list(local.receipts()) == [b"paid", b"some"]


def test_only_the_last_attempt_of_an_effect_can_be_in_doubt(evidence: Evidence) -> None:
    for attempt in (1, 2, 10):
        evidence.claim(KEY, claim_of(f"k{attempt}", attempt))
    evidence.claim(OTHER, claim_of("o1"))
    evidence.give_receipt(KEY, 2, b"failed")
    last = claim_of("k10", 10)
    assert evidence.doubts() == [(KEY, last), (OTHER, claim_of("o1"))]
    evidence.give_receipt(KEY, 10, b"paid")
    assert evidence.doubts() == [(OTHER, claim_of("o1"))]


def test_claims_and_receipts_of_effects_are_on_the_disk_and_of_segments_not_yet(
    local: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.leave(1, 1, "a", 0, b"")
    synced: list[str] = []
    fsync = os.fsync

    def spy(fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}")).relative_to(local.store.url)
        synced.append("incoming/…" if path.parts[0] == "incoming" else str(path))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", spy)
    local.leave(1, 1, "a", 1, b"")
    local.leave(1, 2, "a", 0, b"")
    local.beat("a")
    folder = "runs/run-1"
    # That of the beats is made to be there, and what is in it not.
    assert synced == []
    local.leave(2, 1, "a", 0, b"")
    assert synced == [f"{folder}/receipts/segments"]
    del synced[:]
    local.claim(KEY, claim_of("a"))
    assert synced == [
        "incoming/…",
        folder,
        f"{folder}/claims",
        f"{folder}/claims/{KEY}",
    ]
    del synced[:]
    local.give_receipt(KEY, 1, b"")
    assert synced == [
        "incoming/…",
        f"{folder}/receipts",
        f"{folder}/receipts/effects",
        f"{folder}/receipts/effects/{KEY}",
    ]


# --- removing ---


def test_removing_leaves_nothing_of_the_run_and_all_values(local: Evidence) -> None:
    kept = local.store.save([1])
    local.claim(KEY, claim_of("a"))
    local.give_receipt(KEY, 1, b"paid")
    local.leave(1, 1, "a", 0, b"some")
    local.beat("a")
    local.remove()
    assert list(local.receipts()) == local.doubts() == local.left(1, 1) == []
    assert not folder_of(local).exists()
    assert incoming(local) == []
    assert local.store.load(kept.hash) == [1]
    local.remove()


REMOVING = """
while True:
    if not list(evidence.receipts()):
        for key in KEYS:
            assert evidence.claim(key, Claim(1, Owner.here(), "tcp://127.0.0.1:1", 0.0, "a"))
            evidence.give_receipt(key, 1, b"paid")
    is_over = killed_at_the_next_line(evidence.remove)
    assert evidence.doubts() == [], line
    assert len(list(evidence.receipts())) in (0, len(KEYS)), line
    if is_over:
        assert list(evidence.receipts()) == []
        break
print(line)
"""


def test_removing_that_was_killed_at_any_line_leaves_no_doubt(local: Evidence) -> None:
    command = [sys.executable, "-c", AT_EACH_LINE + REMOVING, local.store.url]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(ended.stdout) > 20
    local.store.collect(grace=0)
    assert [path for path in Path(local.store.url).rglob("*") if path.is_file()] == []


def test_removing_goes_on_while_others_still_leave_something(local: Evidence) -> None:
    stop = threading.Event()

    def straggle(token: str) -> int:
        count = 0
        while not stop.is_set():
            try:
                local.leave(1, count % 5, token, count, b"late")
            except StoreError as error:
                # Its folder went between two calls.
                assert isinstance(error.__cause__, FileNotFoundError)
            count += 1
        return count

    with ThreadPoolExecutor(2) as pool:
        counts = [pool.submit(straggle, token) for token in "ab"]
        try:
            for _ in range(50):
                local.remove()
        finally:
            stop.set()
        assert all(count.result() for count in counts)
    local.remove()
    assert not folder_of(local).exists()


# --- who is alive ---


def test_this_process_is_alive(evidence: Evidence) -> None:
    assert evidence.is_alive(claim_of("a"))


def test_a_process_elsewhere_is_alive_while_its_beats_are_seen(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0]
    clock = SimpleNamespace(**{**vars(time), "monotonic": lambda: now[0]})
    monkeypatch.setattr(module, "time", clock)
    claim, silent = claim_of("a", owner=ELSEWHERE), claim_of("b", owner=ELSEWHERE)

    def after(seconds: float) -> tuple[bool, bool]:
        now[0] += seconds
        return evidence.is_alive(claim), evidence.is_alive(silent)

    # Nobody knows yet.
    assert after(0) == (True, True)
    evidence.beat("a")
    assert after(29) == (True, True)
    assert after(2) == (True, False)
    assert after(26) == (True, False)
    assert after(2) == (False, False)
    # It was only slow, and is seen at once.
    evidence.beat("a")
    assert after(1_000) == (True, False)
    # Who looks for the first time does not know yet.
    assert pickle.loads(pickle.dumps(evidence)).is_alive(silent)


BEATING = """
import sys
from nbflow.store import evidence as module
from nbflow.store.evidence import Evidence, beating
from nbflow.store.store import Store
module.BEAT_SECONDS = 0.01
evidence = Evidence(Store(sys.argv[1]), "run-1")
with beating(evidence, "a"):
    print("begun", flush=True)
    sys.stdin.readline()
"""


def beat_of(evidence: Evidence, token: str) -> bytes | None:
    try:
        return bytes(evidence.store.files.get(f"runs/{evidence.run}/beats/{token}"))
    except FileNotFoundError:
        return None


def beats_on(evidence: Evidence, token: str) -> None:
    seen: set[bytes | None] = set()
    until(lambda: seen.add(beat_of(evidence, token)) or len(seen) > 3)


def test_a_process_beats_while_it_is_at_work(
    local: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Any beat that is missed counts.
    monkeypatch.setattr(module, "BEAT_LOST", 0.0)
    claim = claim_of("a", owner=ELSEWHERE)
    with started(BEATING, local.store.url) as worker:
        assert told(worker) == "begun"
        beats_on(local, "a")
        until(lambda: local.is_alive(claim))
        worker.kill()
    local.is_alive(claim)
    assert not local.is_alive(claim)


def test_one_thread_beats_for_all_and_not_for_what_has_ended(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    with beating(evidence, "a"):
        with beating(evidence, "b"), beating(evidence, "c"):
            for token in "abc":
                beats_on(evidence, token)
            names = [thread.name for thread in threading.enumerate()]
            assert names.count("nbflow-beat") == 1
        beats_on(evidence, "a")
        last = beat_of(evidence, "b")
        beats_on(evidence, "a")
        assert beat_of(evidence, "b") == last
    with pytest.raises(ZeroDivisionError), beating(evidence, "d"):
        raise ZeroDivisionError


def test_what_is_short_does_not_beat(local: Evidence) -> None:
    for _ in range(100):
        with beating(local, "a"):
            pass
    assert not Path(local.store.url).exists()


def test_beats_go_on_when_the_store_can_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    (tmp_path / "store").write_text("in the way")
    local = Evidence(Store(tmp_path / "store"), "run-1")
    tried = threading.Event()
    beat = Evidence.beat

    def spy(self: Evidence, token: str) -> None:
        try:
            beat(self, token)
        except StoreError:
            tried.set()
            raise

    monkeypatch.setattr(Evidence, "beat", spy)
    with beating(local, "a"):
        assert tried.wait(60)
        (tmp_path / "store").unlink()
        beats_on(local, "a")


FORKED = """
import os, sys
from nbflow.store import evidence as module
from nbflow.store.evidence import Evidence, beating
from nbflow.store.store import Store
module.BEAT_SECONDS = 0.01
evidence = Evidence(Store(sys.argv[1]), "run-1")
with beating(evidence, "parent"):
    pid = os.fork()
    if pid:
        print(pid, flush=True)
    with beating(evidence, "parent-2" if pid else "child"):
        os.read(0, 1)
os._exit(0)
"""


def test_a_forked_process_beats_for_itself(local: Evidence) -> None:
    with started(FORKED, local.store.url) as parent:
        child = int(told(parent))
        beats_on(local, "child")
        beats_on(local, "parent-2")
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        beats_on(local, "child")
        last = beat_of(local, "parent")
        beats_on(local, "child")
        assert beat_of(local, "parent") == last
        os.kill(child, signal.SIGKILL)


# --- places that cannot be written ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path) -> Path:
    path = disk / "filling"
    with path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4_096))
    return path


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_full_disk_is_said_and_leaves_nothing_torn(
    small_disk: Path, links: bool, request: pytest.FixtureRequest
) -> None:
    if not links:
        request.getfixturevalue("no_links")
    local = Evidence(Store(small_disk), "run-1")
    local.claim(KEY, claim_of("before"))
    filling = fill(small_disk)
    for what, ask in {
        f"claim the effect '{OTHER[:5]}": lambda: local.claim(OTHER, claim_of("a")),
        "leave a receipt of the effect": lambda: local.give_receipt(KEY, 1, b"paid"),
        "leave a receipt": lambda: local.leave(1, 1, "a", 0, b"some"),
        "show that a step is at work": lambda: local.beat("a"),
    }.items():
        with pytest.raises(StoreError, match=rf"cannot {what}.*the disk is full\. Needed are"):
            ask()
    assert incoming(local) == []
    assert local.claims(OTHER) == list(local.receipts()) == []
    assert local.doubts() == [(KEY, claim_of("before"))]
    filling.unlink()
    assert local.claim(OTHER, claim_of("a"))
    local.give_receipt(KEY, 1, b"paid")
    assert local.receipt(KEY, 1) == b"paid"


def test_a_full_disk_tears_no_claim_where_a_file_has_only_one_name(
    small_disk: Path, no_links: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = Evidence(Store(small_disk), "run-1")
    local.claim(KEY, claim_of("before"))
    filling = fill(small_disk)
    filling.open("r+b").truncate(filling.stat().st_size - 4_096)
    # There is room for one of the two copies.
    with pytest.raises(StoreError, match="the disk is full"):
        local.claim(OTHER, claim_of("a"))
    assert local.claims(OTHER) == incoming(local) == []


def test_a_read_only_disk_is_said_and_can_be_read(small_disk: Path) -> None:
    local = Evidence(Store(small_disk), "run-1")
    local.claim(KEY, claim_of("a"))
    local.give_receipt(KEY, 1, b"paid")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for ask in (
        lambda: local.claim(OTHER, claim_of("a")),
        lambda: local.leave(1, 1, "a", 0, b""),
        local.remove,
    ):
        with pytest.raises(StoreError, match=r"it is not allowed .*Read-only"):
            ask()
    # That is known without writing.
    assert not local.claim(KEY, claim_of("b"))
    assert local.receipt(KEY, 1) == b"paid"


def test_a_store_that_is_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    local = Evidence(Store(tmp_path / "file"), "run-1")
    for ask in (
        lambda: local.claim(KEY, claim_of("a")),
        lambda: local.leave(1, 1, "a", 0, b""),
    ):
        with pytest.raises(StoreError, match=r"there is a file where a folder .* Move the file"):
            ask()
    assert local.left(1, 1) == []
    local.remove()
    assert (tmp_path / "file").read_text() == "mine"


def test_after_the_end_nothing_that_was_sent_before_may_begin(evidence: Evidence) -> None:
    assert not evidence.has_ended(1)
    evidence.end(2)
    assert [evidence.has_ended(epoch) for epoch in (1, 2, 3)] == [True, True, False]
    # The end outlives what segments have left, and goes with all of it.
    evidence.forget_segments()
    assert evidence.has_ended(2)
    evidence.remove()
    assert not evidence.has_ended(2)
