"""How much memory another process holds."""

from __future__ import annotations

import mmap
from pathlib import Path


def can_tell() -> bool:
    """Whether this system says so: it has Linux's /proc."""
    return Path("/proc/self/statm").exists()


def resident_bytes(pid: int) -> int:
    """Resident memory of the process; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/statm").read_text(encoding="ascii")
    except OSError:
        return 0
    return int(text.split()[1]) * mmap.PAGESIZE
