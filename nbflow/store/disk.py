"""What the system says of the disk that a file is on: its kind, its room, and who locks it."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

_NETWORK: Final = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "9p", "vboxsf", "vmhgfs"),
        *("prl_fs", "lustre", "beegfs", "gpfs", "ceph", "afs", "openafs", "coda", "glusterfs"),
        *("orangefs", "pvfs2", "panfs", "wekafs", "ocfs2", "gfs2", "davfs", "acfs"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.beegfs"),
        *("fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.goofys", "fuse.blobfuse2"),
        *("fuse.juicefs", "fuse.davfs2", "fuse.vmhgfs-fuse", "fuse.grpcfuse", "fuse.osxfs"),
        *("fuse.smbnetfs", "fuse.curlftpfs", "fuse.moosefs", "fuse.mfs", "fuse.seaweedfs"),
    }
)
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
# The bytes that SQLite locks to write: of the shared memory, and of the file itself.
_SHARED_MEMORY: Final = range(120, 128)
_FILE: Final = range(1 << 30, (1 << 30) + 512)


def file_system(path: str, mountinfo: str) -> str | None:
    r"""Name the kind of file system that a path is on; None if it cannot be told.

    Parameters
    ----------
    path
        Absolute, without symbolic links.
    mountinfo
        What ``/proc/self/mountinfo`` says.

    Examples
    --------
    >>> file_system("/home/me", "1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / /home rw - nfs4 b rw")
    'nfs4'
    """
    found: tuple[int, str] | None = None
    for line in mountinfo.splitlines():
        fields, separator, kind = line.partition(" - ")
        parts = fields.split(" ")
        if not separator or len(parts) < 5:
            continue
        point = _ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), parts[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        # Of two in one place, the later one hides the other.
        if inside and (found is None or len(point) >= found[0]):
            found = len(point), kind.split(" ")[0]
    return None if found is None else found[1]


def network(folder: Path) -> str | None:
    """Name the file system of a folder if it is one of a network; None if it is not."""
    try:
        mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    kind = file_system(os.path.realpath(folder), mountinfo)
    return kind if kind in _NETWORK else None


def room(folder: Path) -> int | None:
    """Tell how many bytes are free where a folder is; None if nobody can."""
    try:
        found = os.statvfs(folder)
    except (OSError, AttributeError):
        return None
    return found.f_bavail * found.f_frsize


def holders(locks: str, inodes: Collection[int]) -> tuple[int, ...]:
    """Give the processes that have locked one of SQLite's files to write.

    Parameters
    ----------
    locks
        What ``/proc/locks`` says.
    inodes
        Of the file and of its shared memory.

    Examples
    --------
    >>> holders("1: POSIX  ADVISORY  WRITE 67 fe:00:21 120 120", {21})
    (67,)
    """
    found = []
    for line in locks.splitlines():
        parts = line.split()
        # Those that only wait have an arrow in the second place.
        if len(parts) != 8 or parts[1] != "POSIX" or parts[3] != "WRITE":
            continue
        place = parts[5].rpartition(":")[2]
        if not (place.isdigit() and parts[6].isdigit() and int(place) in inodes):
            continue
        first = int(parts[6])
        if (first in _SHARED_MEMORY or first in _FILE) and parts[4].isdigit():
            found.append(int(parts[4]))
    return tuple(dict.fromkeys(found))
