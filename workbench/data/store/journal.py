"""Which journal SQLite keeps beside a label store: the write-ahead log, where it can be trusted."""

import re
import sqlite3
from pathlib import Path

_SHARED = {
    *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afs", "ceph", "9p", "virtiofs", "vboxsf"),
    *("lustre", "gpfs", "beegfs", "glusterfs", "orangefs", "ocfs2", "gfs2", "prl_fs", "vmhgfs"),
}
_ESCAPED = re.compile(r"\\([0-7]{3})")  # a blank in a mount's name


def is_shared(path: Path, mounts: Path = Path("/proc/mounts")) -> bool:
    """Whether a file is on a file system that other machines may write to.

    There the write-ahead log may seem to work and still lose labels: its index is shared memory,
    which ends at the machine. Where the system has no table of mounts this is not known: False.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    file = path.resolve()
    best, kind = -1, ""
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        place = Path(_ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), fields[1]))
        if file.is_relative_to(place) and len(place.parts) >= best:  # the last one mounted there
            best, kind = len(place.parts), fields[2]
    return kind in _SHARED or (kind.startswith("fuse.") and "overlay" not in kind)


def set_journal(db: sqlite3.Connection, path: Path) -> str:
    """Ask for the write-ahead log; fall back where the file system cannot share its memory.

    Returns:
        The journal in use, "wal" or "delete".
    """
    shared = is_shared(path)
    try:
        mode = "DELETE" if shared else "WAL"
        journal = db.execute(f"PRAGMA journal_mode = {mode}").fetchone()[0]
        db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "readonly" in str(error):
            raise
        journal = ""
    if journal != "wal" and not shared:
        journal = db.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
    # A deleted journal must be gone from the folder too before a commit counts: EXTRA.
    db.execute(f"PRAGMA synchronous = {'FULL' if journal == 'wal' else 'EXTRA'}")
    db.execute("PRAGMA fullfsync = 1")  # on macOS a plain fsync stops at the drive's cache
    return str(journal)
