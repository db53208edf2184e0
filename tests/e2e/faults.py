"""train.py in a process of its own, on a disk that is slow, or full, without a word about it in the program.

Processes are forks of the tests' own, which has torch loaded, so that fifty starts cost little.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import train

CONTEXT = multiprocessing.get_context("fork")

Fault = Callable[[], None]


def slow_disk() -> None:
    """Writes in small pieces with pauses, and pauses around syncs and renames: most kills hit one of them."""
    write, sync, rename = os.write, os.fsync, os.replace

    def slow_write(handle, data):
        time.sleep(0.001)
        return write(handle, data[:32768])

    def slow_sync(handle):
        time.sleep(0.02)
        sync(handle)

    def slow_rename(source, target):
        time.sleep(0.02)
        rename(source, target)
        time.sleep(0.02)

    os.write, os.fsync, os.replace = slow_write, slow_sync, slow_rename


def full_disk(part: str, room: int) -> Fault:
    """A disk that is full after `room` bytes of files with `part` in their name."""
    return FullDisk(part, room)


class FullDisk:
    def __init__(self, part: str, room: int) -> None:
        self.part, self.room = part, room

    def __call__(self) -> None:
        write = os.write

        def limited(handle, data):
            if self.part not in os.readlink(f"/proc/self/fd/{handle}"):
                return write(handle, data)
            if not self.room:
                raise OSError(28, "No space left on device")
            written = write(handle, data[: self.room])
            self.room -= written
            return written

        os.write = limited


def start(words: list[str], output: Path, fault: Fault | None = None) -> multiprocessing.process.BaseProcess:
    """Start train.py with `words`; what it prints goes to `output`.out and `output`.err."""
    process = CONTEXT.Process(target=_main, args=(words, str(output), fault))
    process.start()
    return process


def run(words: list[str], output: Path, fault: Fault | None = None) -> tuple[int | None, str, str]:
    """Exit status, stdout and stderr of a whole run."""
    process = start(words, output, fault)
    process.join()
    return process.exitcode, *(Path(f"{output}.{end}").read_text() for end in ("out", "err"))


def _main(words: list[str], output: str, fault: Fault | None) -> None:
    gc.freeze()  # what the tests hold is not searched for garbage
    for stream, end in ((1, "out"), (2, "err")):
        handle = os.open(f"{output}.{end}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, stream)
    sys.stdout = open(1, "w", buffering=1, closefd=False)
    sys.stderr = open(2, "w", buffering=1, closefd=False)
    torch.set_num_threads(1)
    if fault is not None:
        fault()
    sys.argv = ["train.py", *words]
    status = train.main()
    gc.collect()  # what ends loader workers here; at the end of a program of its own they are ended too
    sys.exit(status)
