"""Image features on disk, found again by what the image file holds and by how it was encoded.

``FOLDER/{way}/features-{random}.safetensors``: features of some images that were encoded in one way. ``way`` stands for
all that can change a feature but the image itself. The files have the form of checkpoints, whose digest shows damage,
and appear whole; each writer makes files of its own, so any number of processes may use a folder at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor

from . import checkpoints

NAME = "features-{}.safetensors"
GB = 10**9


class FeatureFiles:
    """Features of images by name, all encoded in one way.

    Args:
        root: the folder of all features, of any way.
        max_gb: what its files may take together; 0 keeps nothing.
        way: how the images become features, as JSON values.
    """

    def __init__(self, root: Path, max_gb: float, way: Mapping[str, Any]):
        self.root, self.max_gb, self.way = root, max_gb, way
        text = json.dumps(way, sort_keys=True, allow_nan=False)
        self.folder = root / hashlib.sha256(text.encode()).hexdigest()[:16]

    def read(self, names: Collection[str]) -> dict[str, Tensor]:
        """Return the features ``[d]`` that are there, by name; deletes a damaged file, and says so."""
        wanted, found = set(names), dict[str, Tensor]()
        for path, _ in _last_used_first(self.folder, NAME.format("*")):
            if not wanted:
                break
            try:
                tensors, about = checkpoints.read(path)
            except FileNotFoundError:  # another process has made room since
                continue
            except ValueError:
                print(f"note: {path} is damaged: it is deleted, and its images are encoded again")
                path.unlink(missing_ok=True)
                continue
            rows = zip(about["images"], tensors["features"].unbind(), strict=True)
            here = {name: row for name, row in rows if name in wanted}
            if here:
                with contextlib.suppress(OSError):  # another user's file, which may be read only
                    os.utime(path)
            wanted -= here.keys()
            found |= here
        return found

    def prepare(self) -> None:
        """Make the folder. Raises OSError naming it where nothing can be written there."""
        if not self.max_gb:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            reason = "" if os.access(self.folder, os.W_OK) else "Permission denied"
        except OSError as error:
            reason = str(error.strerror)
        if reason:
            raise OSError(f"cannot keep features in {self.folder}: {reason}: name another folder in FEATURES.FOLDER")

    def write(self, features: Mapping[str, Tensor]) -> None:
        """Keep features ``[d]`` by name in the folder that ``prepare`` made, and make room for them."""
        if not self.max_gb:
            return
        path = self.folder / NAME.format(uuid4().hex)
        about = {"images": list(features), "way": self.way}
        checkpoints.save(path, {"features": torch.stack(list(features.values()))}, about)
        self._make_room()

    def _make_room(self) -> None:
        """Delete the files that were not used for longest, so that the rest takes at most ``max_gb``."""
        used, deleted = 0, 0
        for path, size in _last_used_first(self.root, f"*/*{NAME.format('*')}*"):  # and what killed writers left
            used += size
            if used > self.max_gb * GB:
                path.unlink(missing_ok=True)
                deleted += 1
        if deleted:
            print(f"note: {deleted} files of features were deleted to stay within FEATURES.MAX_GB ({self.max_gb})")


def _last_used_first(folder: Path, pattern: str) -> list[tuple[Path, int]]:
    """Return files and their bytes, by time of last use."""
    found = []
    for path in folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError):  # another process has made room since
            found.append((path, path.stat()))
    return [(path, stat.st_size) for path, stat in sorted(found, key=lambda one: -one[1].st_mtime_ns)]
