"""Space kept free beside the store, so that running jobs can finish when the disk is full."""

from __future__ import annotations

import os
from pathlib import Path


class Reserve:
    """A file of fixed size next to the database, given up on a full disk and taken again when there is space."""

    def __init__(self, path: Path | None, size: int) -> None:
        self._path = path
        self._size = size

    def acquire(self) -> bool:
        """Allocate the reserve if it is not there; False when the disk has no room for it."""
        if self._path is None or self._size == 0:
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._size)
        except OSError:
            self._path.unlink()
            return False
        finally:
            os.close(descriptor)
        return True

    def take_back(self) -> bool:
        """Allocate the reserve again after `release`, once the disk has room for it twice.

        With less, it would take the very space that it was given up for, and the disk would be full again at once.
        """
        if self._path is not None:
            disk = os.statvfs(self._path.parent)
            if disk.f_bavail * disk.f_frsize < 2 * self._size:
                return False
        return self.acquire()

    def release(self) -> bool:
        """Give the space back to the file system; False when there was nothing to give."""
        if self._path is None or not self._path.exists():
            return False
        self._path.unlink()
        return True
