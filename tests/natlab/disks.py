"""Disks of a laboratory: small file systems in memory, which can be full."""

from __future__ import annotations

import errno
import os
import pathlib

from tests.natlab.hosts import checked

FILLER = "filler"


class Disk:
    """
    A file system that is mounted until `remove`; `Lab.disk` makes it.

    Args:
        path: Where; a folder that is made.
        size: In bytes.
    """

    def __init__(self, path: pathlib.Path, size: int) -> None:
        self.path = path
        self._size = size

    def mount(self) -> None:
        """Programs that are started from now on see it."""
        self.path.mkdir(0o700)
        checked(["mount", "-t", "tmpfs", "-o", f"size={self._size},mode=700", "crust-lab", str(self.path)])

    def fill(self) -> None:
        """No byte more fits."""
        with open(self.path / FILLER, "ab", buffering=0) as file:
            size = self._size
            while size:
                try:
                    file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2

    def free(self) -> None:
        """The end of `fill`."""
        (self.path / FILLER).unlink(missing_ok=True)

    def remove(self) -> None:
        """Take it down, though programs have files there."""
        if os.path.ismount(self.path):
            checked(["umount", "--lazy", str(self.path)])


def unmount_below(folder: str) -> None:
    """Take down all that a killed laboratory has left mounted in its folder."""
    with open("/proc/self/mounts") as file:
        places = [line.split()[1] for line in file]
    for place in reversed(places):
        if place.startswith(f"{folder}/"):
            checked(["umount", "--lazy", place])
