"""The hash of many bytes, taken by several threads at once.

SHA-256 alone takes longer than writing to a fast disk. So what is longer than a block
is hashed block by block, and its hash is the SHA-256 of theirs, in order.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any, Final, TypeAlias

_Block: TypeAlias = list[memoryview]

_BLOCK: Final = 1 << 23
_THREADS: Final = 4
_OF_BLOCKS: Final = b"nbflow: SHA-256 of each 8388608 bytes\n"


def digest(chunks: Sequence[Any]) -> str:
    """Give the hash of bytes that are in memory, however they are cut.

    Examples
    --------
    >>> digest([b"two ", b"pieces"]) == digest([b"two pieces"])
    True
    """
    size = sum(memoryview(chunk).nbytes for chunk in chunks)
    if size <= _BLOCK:
        return _of_all(map(_leaf, _blocks(chunks)))
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), "nbflow-hash") as pool:
        return _of_all(pool.map(_leaf, _blocks(chunks)))


def digest_read(pieces: Iterable[Any]) -> str:
    """Give the same hash of bytes that are read piece by piece, and not held.

    Examples
    --------
    >>> digest_read(iter([b"two ", b"pieces"])) == digest([b"two pieces"])
    True
    """
    return _of_all(map(_leaf, _blocks(pieces)))


def _of_all(leaves: Iterable[Any]) -> str:
    first, *more = leaves
    if not more:
        return str(first.hexdigest())
    root = sha256(_OF_BLOCKS + first.digest())
    for leaf in more:
        root.update(leaf.digest())
    return root.hexdigest()


def _leaf(block: _Block) -> Any:
    found = sha256()
    for view in block:
        found.update(view)
    return found


def _blocks(chunks: Iterable[Any]) -> Iterator[_Block]:
    """Cut into blocks, of which only the last may be shorter; one if there is nothing."""
    block: _Block = []
    room = _BLOCK
    is_first = True
    for chunk in chunks:
        view = memoryview(chunk).cast("B")
        while view.nbytes:
            if not room:
                yield block
                block, room, is_first = [], _BLOCK, False
            taken = view[:room]
            block.append(taken)
            view, room = view[taken.nbytes :], room - taken.nbytes
    if block or is_first:
        yield block
