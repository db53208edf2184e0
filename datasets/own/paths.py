"""Paths in a table, as people and other systems write them, to those that are on disk."""

from __future__ import annotations

import os
import re
from unicodedata import normalize

from common.text import unescape

from ..shared.files import folder_names


class Finder:
    """Finds files in a folder by paths relative to it.

    Args:
        root: the folder.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._names: dict[str, dict[str, str]] = {}  # folder -> name, as it is and in NFC -> path on disk
        self._said = False

    def find(self, place: str, written: str) -> str:
        """Return the path as the folder spells it; without such a file as it is written, in its usual form.

        Tried in turn, in any Unicode form: the path; with the escapes of `text` undone; with ``/`` for backslashes,
        which is said once.

        Raises:
            ValueError: a path of another machine; the message begins with ``place``.
        """
        path = os.path.normpath(written)
        found = self._on_disk(path)
        if found:
            return found
        if os.sep == "/" and re.match(r"[A-Za-z]:[\\/]", written):
            raise ValueError(f"{place}: {written} is a path of another machine: write it relative to DATASET.FOLDER")
        plain = unescape(path)
        slashed = os.path.normpath(plain.replace("\\", "/"))
        candidate = plain if self._on_disk(plain) else slashed
        if candidate != plain and not self._said:
            print(f"note: {place}: the backslashes in its paths are read as /, so that this is {slashed}")
            self._said = True
        return self._on_disk(candidate) or candidate

    def _on_disk(self, path: str) -> str:
        """The path of this name, ``""`` if there is none."""
        if os.path.isabs(path):
            return ""
        folder, name = os.path.split(path)
        if folder not in self._names:
            there = folder and self._on_disk(folder)
            names = sorted(folder_names(os.path.join(self.root, there))) if there or not folder else []
            paths = {name: os.path.join(there, name) for name in names}
            self._names[folder] = {normalize("NFC", name): path for name, path in paths.items()} | paths
        known = self._names[folder]
        return known.get(name) or known.get(normalize("NFC", name), "")
