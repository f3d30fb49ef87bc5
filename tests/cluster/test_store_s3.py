"""The store in S3: a real server of the S3 protocol, on loopback."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Lock
from typing import Any

import numpy as np
import pandas as pd
import pytest
from samples import Point

from nbflow.errors import StoreError
from nbflow.store.evidence import Claim, Evidence
from nbflow.store.owner import Owner
from nbflow.store.store import Store

pytest.importorskip("s3fs")
boto3 = pytest.importorskip("boto3")
server = pytest.importorskip("moto.server")

KEYS = {"key": "nobody", "secret": "nothing"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    running = server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def options(endpoint: str) -> dict[str, Any]:
    return {**KEYS, "endpoint_url": endpoint, "client_kwargs": {"region_name": "us-east-1"}}


@pytest.fixture
def client(endpoint: str) -> Any:
    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1",
        aws_access_key_id=KEYS["key"], aws_secret_access_key=KEYS["secret"],
    )  # fmt: skip


@pytest.fixture
def bucket(client: Any) -> str:
    name = f"bucket-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def store(bucket: str, options: dict[str, Any]) -> Store:
    return Store(f"s3://{bucket}/some/folder", options=options)


def key_of(hashed: str) -> str:
    return f"some/folder/payloads/{hashed[:2]}/{hashed}"


# Above fifty megabytes, s3fs sends an object in parts.
LARGE = np.random.default_rng(0).random(8_000_000)


@pytest.mark.parametrize("value", [{"a": (1, None)}, LARGE], ids=["small", "in parts"])
def test_a_value_comes_back(store: Store, client: Any, bucket: str, value: Any) -> None:
    kept = store.save(value)
    found = pickle.loads(pickle.dumps(store)).load(kept.hash)
    assert np.array_equal(found, value)
    assert kept.hash in store
    assert store.is_intact(kept.hash)
    assert list(store.hashes()) == [kept.hash]
    assert store.nbytes() == store.nbytes(kept.hash) == kept.nbytes
    # One object under its final name, and nothing beside it.
    (only,) = client.list_objects_v2(Bucket=bucket)["Contents"]
    assert (only["Key"], only["Size"]) == (key_of(kept.hash), kept.nbytes)


def test_frames_come_back_to_another_process(store: Store, options: dict[str, Any]) -> None:
    df = pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=pd.Index(["r", "s"], name="k"))
    kept = store.save(df)
    script = (
        "import sys, json; from nbflow.store.store import Store;"
        "url, options, hashed = json.loads(sys.argv[1]);"
        "print(Store(url, options=options).load(hashed).to_json(orient='split'))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, json.dumps([store.url, options, kept.hash])],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(told.stdout) == json.loads(df.to_json(orient="split"))


def test_what_is_there_is_not_written_again(store: Store, client: Any, bucket: str) -> None:
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for _ in range(3):
        hashed = store.save([1]).hash
    versions = client.list_object_versions(Bucket=bucket)["Versions"]
    assert [version["Key"] for version in versions] == [key_of(hashed)]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_object_is_never_served_and_written_anew(
    store: Store, client: Any, bucket: str, damage: str
) -> None:
    kept = store.save({"a": [1, 2]})
    whole = bytearray(store.read(kept.hash))
    whole[70] ^= 1
    data = {"cut": whole[:70], "flip": whole, "empty": b""}[damage]
    client.put_object(Bucket=bucket, Key=key_of(kept.hash), Body=bytes(data))
    with pytest.raises(StoreError, match="is damaged"):
        store.load(kept.hash)
    assert not store.is_intact(kept.hash)
    assert store.save({"a": [1, 2]}) == kept
    assert store.load(kept.hash) == {"a": [1, 2]}


def test_an_object_that_another_has_deleted_is_missing(
    store: Store, client: Any, bucket: str
) -> None:
    kept = store.save(1)
    assert kept.hash in store
    client.delete_object(Bucket=bucket, Key=key_of(kept.hash))
    assert kept.hash not in store
    assert list(store.hashes()) == []
    with pytest.raises(StoreError, match="is missing from the store"):
        store.load(kept.hash)
    assert store.save(1) == kept


def test_values_are_deleted(store: Store) -> None:
    kept = store.save(1)
    assert not store.delete(kept.hash, unused_for=3_600)
    assert store.delete(kept.hash)
    assert not store.delete(kept.hash)
    assert store.collect(grace=0) == 0


def test_pickles_are_refused_unless_trusted(store: Store, options: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match=r"not written to the store .*trusted=True"):
        store.save(Point(1, 2))
    trusting = Store(store.url, options=options, trusted=True)
    kept = trusting.save(Point(1, 2))
    assert trusting.load(kept.hash) == Point(1, 2)
    with pytest.raises(StoreError, match="kept as a pickle"):
        store.load(kept.hash)


def test_a_bucket_that_is_not_there_is_said_and_not_made(
    options: dict[str, Any], client: Any
) -> None:
    store = Store("s3://no-such-bucket/x", options=options)
    with pytest.raises(
        StoreError, match=r"cannot keep a value in the store 's3://no-such-bucket/x'"
    ):
        store.save(1)
    assert "no-such-bucket" not in [each["Name"] for each in client.list_buckets()["Buckets"]]


def test_a_server_that_is_not_there_is_said(options: dict[str, Any]) -> None:
    nowhere = {
        **options,
        "endpoint_url": "http://127.0.0.1:9",
        "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1},
    }
    with pytest.raises(
        StoreError, match=r"cannot .* in the store 's3://b/x': .*Check that the place"
    ):
        Store("s3://b/x", options=nowhere).save(1)


@pytest.mark.parametrize("size", [10, 60_000_000], ids=["small", "in parts"])
def test_a_write_that_fails_on_its_way_leaves_no_object(
    store: Store, client: Any, bucket: str, size: int
) -> None:
    with pytest.raises(TypeError):
        store._files.put([bytes(size), object()], lambda: "payloads/half")
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)


WRITER = """
import json, sys
import numpy as np
from nbflow.store.store import Store
url, options = json.loads(sys.argv[1])
store = Store(url, options=options)
print("ready", flush=True)
while True:
    print(store.save(np.random.default_rng().random(7_000_000)).hash, flush=True)
"""


def test_a_killed_writer_leaves_no_half_object(store: Store, options: dict[str, Any]) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, json.dumps([store.url, options])],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        told = writer.stdout.readline().strip()
        os.kill(writer.pid, signal.SIGKILL)
    assert told in list(store.hashes())
    assert all(map(store.is_intact, store.hashes()))


# --- what workers leave ---

KEY = "0" * 64


def claim_of(token: str) -> Claim:
    return Claim(1, Owner.here(), "tcp://127.0.0.1:1234", 1.25, token)


@pytest.fixture
def evidence(store: Store) -> Evidence:
    return Evidence(store, "run-1")


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Give a way to change how the server takes an object."""
    from moto.s3.responses import S3Response

    take = S3Response.put_object

    def serve(change: Callable[..., Any]) -> None:
        monkeypatch.setattr(S3Response, "put_object", lambda self: change(lambda: take(self), self))

    return serve


@pytest.fixture
def one_by_one(serving: Callable[[Callable[..., Any]], None]) -> None:
    """Look and write as one, as S3 does; this server does it one after the other."""
    lock = Lock()

    def change(take: Callable[[], Any], _: Any) -> Any:
        with lock:
            return take()

    serving(change)


def test_evidence_is_the_same_in_a_bucket(evidence: Evidence) -> None:
    again = pickle.loads(pickle.dumps(evidence))
    first, second = claim_of("first"), claim_of("second")
    assert evidence.claims(KEY) == again.left(1, 1) == again.doubts() == []
    assert evidence.claim(KEY, first)
    assert not again.claim(KEY, second)
    assert again.claim(KEY, first)
    assert again.claims(KEY) == [first]
    assert again.doubts() == [(KEY, first)]
    assert again.receipt(KEY, 1) is None
    evidence.give_receipt(KEY, 1, b"paid")
    assert again.receipt(KEY, 1) == b"paid"
    assert again.doubts() == []
    for epoch, segment, token, number in [(10, 1, "a", 0), (2, 1, "a", 10), (2, 1, "a", 9)]:
        evidence.leave(epoch, segment, token, number, f"{epoch} {number}".encode())
    assert again.left(2, 1) == [b"2 9", b"2 10"]
    assert list(again.receipts()) == [b"paid", b"2 9", b"2 10", b"10 0"]
    evidence.beat("first")
    assert again.is_alive(first)
    kept = evidence.store.save(1)
    evidence.remove()
    assert again.claims(KEY) == list(again.receipts()) == again.left(2, 1) == []
    assert list(evidence.store.hashes()) == [kept.hash]
    evidence.remove()


def test_of_many_threads_one_has_the_claim_in_a_bucket(
    evidence: Evidence, one_by_one: None
) -> None:
    barrier = Barrier(4)

    def take(rival: int, number: int) -> bool:
        barrier.wait()
        return evidence.claim(f"{number:064x}", claim_of(f"{rival}-{number}"))

    with ThreadPoolExecutor(4) as pool:
        for number in range(25):
            answers = list(pool.map(take, range(4), [number] * 4))
            assert sum(answers) == 1
            (claim,) = evidence.claims(f"{number:064x}")
            assert claim.token == f"{answers.index(True)}-{number}"


@pytest.mark.parametrize("rival", [False, True], ids=["mine", "of another"])
def test_a_write_whose_answer_was_lost_is_told_by_what_is_there(
    store: Store,
    client: Any,
    bucket: str,
    serving: Callable[[Callable[..., Any]], None],
    rival: bool,
) -> None:
    lost = []

    def change(take: Callable[[], Any], _: Any) -> Any:
        if lost:
            return take()
        lost.append(True)
        if rival:
            client.put_object(Bucket=bucket, Key="some/folder/made", Body=b"of another")
        else:
            take()
        return 500, {}, "<Error><Code>InternalError</Code></Error>"

    serving(change)
    assert store.files.create("made", b"mine") is not rival
    assert lost
    assert not store.files.create("made", b"of a third")


def test_what_others_have_put_is_seen_at_once(store: Store, client: Any, bucket: str) -> None:
    def put(name: str) -> None:
        client.put_object(Bucket=bucket, Key=f"some/folder/a/{name}", Body=b"x")

    for name in ("", "b", "c/d"):
        put(name)
        assert store.files.names("a") == [each for each in ("b", "c") if each <= name]
        list(store.files.walk("a"))
    put("e")
    store.files.remove_tree("a")
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_server_that_knows_no_condition_keeps_the_first_claim(
    evidence: Evidence, serving: Callable[[Callable[..., Any]], None]
) -> None:
    def change(take: Callable[[], Any], request: Any) -> Any:
        request.headers = {k: v for k, v in request.headers.items() if k != "If-None-Match"}
        return take()

    serving(change)
    assert evidence.claim(KEY, claim_of("a"))
    assert not evidence.claim(KEY, claim_of("b"))
    assert evidence.claims(KEY) == [claim_of("a")]


def test_a_claim_that_cannot_be_written_is_said(
    evidence: Evidence, serving: Callable[[Callable[..., Any]], None]
) -> None:
    serving(lambda take, _: (403, {}, "<Error><Code>AccessDenied</Code></Error>"))
    with pytest.raises(StoreError, match=r"cannot claim the effect '0000"):
        evidence.claim(KEY, claim_of("a"))
    assert evidence.claims(KEY) == []


def test_a_bucket_has_one_id(store: Store, one_by_one: None) -> None:
    assert not store.has_id("0" * 32)
    with ThreadPoolExecutor(4) as pool:
        (drawn,) = set(pool.map(lambda _: store.id(), range(4)))
    assert pickle.loads(pickle.dumps(store)).has_id(drawn)
