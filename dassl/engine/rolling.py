"""The rolling file from which a stopped run goes on: written whole, checked when read, kept in two generations."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dassl.utils.torchtools import atomic_save, load_checkpoint

RESUME_FILE = "resume.pth.tar"
PREVIOUS_FILE = "resume-previous.pth.tar"


class RollingFile:
    """`resume.pth.tar` in a folder and, for the day that it is damaged, the one before it."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.path = Path(directory) / RESUME_FILE
        self.previous = Path(directory) / PREVIOUS_FILE

    def exists(self) -> bool:
        """Return whether there is either generation."""
        return self.path.is_file() or self.previous.is_file()

    def write(self, state: dict[str, Any]) -> None:
        """Write a new generation; the newest becomes the previous one."""
        atomic_save(state, self.path, backup=self.previous)

    def read(self) -> dict[str, Any]:
        """Return the newest state that is whole; says so if that is not the newest file.

        Raises FileNotFoundError if there is none, ValueError naming the file if none is whole.
        """
        if not self.path.is_file() and self.previous.is_file():
            return load_checkpoint(self.previous)  # killed between the two renames of `write`
        try:
            return load_checkpoint(self.path)
        except ValueError as error:
            if not self.previous.is_file():
                raise ValueError(f"{error}; remove it to train from scratch") from error
            damage = error
        try:
            state = load_checkpoint(self.previous)
        except ValueError as error:
            raise ValueError(f"{damage}; so is {self.previous}: remove both to train from scratch") from error
        print(f"note: {damage}; going on from {self.previous.name}, with the same result")
        os.replace(self.previous, self.path)  # else the damaged one would become the previous one
        return state

    def remove(self) -> None:
        """Delete both generations."""
        self.path.unlink(missing_ok=True)
        self.previous.unlink(missing_ok=True)
