"""Files, seeds and names."""

from __future__ import annotations

import json
import os
import platform
import random
import warnings
from collections.abc import Iterable
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch

from .images import read_image as read_image
from .registry import nearest


def mkdir_if_missing(dirname: str | os.PathLike[str]) -> None:
    """Create a folder and its parents."""
    os.makedirs(dirname, exist_ok=True)


def check_isfile(fpath: str | os.PathLike[str]) -> bool:
    """Return whether `fpath` is a file; warns if it is not."""
    found = os.path.isfile(fpath)
    if not found:
        warnings.warn(f'No file found at "{fpath}"', stacklevel=2)
    return found


def read_json(fpath: str | os.PathLike[str]) -> Any:
    """Parse a JSON file."""
    with open(fpath, encoding="utf-8") as file:
        return json.load(file)


def write_json(obj: Any, fpath: str | os.PathLike[str]) -> None:
    """Write `obj` as JSON, creating the folder; ValueError for NaN and infinity, which JSON has not."""
    mkdir_if_missing(os.path.dirname(os.path.abspath(fpath)))
    with open(fpath, "w", encoding="utf-8") as file:
        json.dump(obj, file, indent=4, separators=(",", ": "), allow_nan=False)


def listdir_nohidden(path: str | os.PathLike[str], sort: bool = False) -> list[str]:
    """Return the names in a folder that do not start with a dot."""
    names = [name for name in os.listdir(path) if not name.startswith(".")]
    return sorted(names) if sort else names


def tolist_if_not(x: Any) -> list[Any]:
    """Return `x` if it is a list, else `[x]`."""
    return x if isinstance(x, list) else [x]


def get_most_similar_str_to_a_from_b(a: str, b: Iterable[str]) -> str | None:
    """Return the string among `b` that is most similar to `a`; the first of equals, None where all differ entirely."""
    similarity = {option: SequenceMatcher(None, a, option).ratio() for option in b}
    best = max(similarity, key=similarity.__getitem__, default=None)
    return best if best is not None and similarity[best] > 0 else None


def check_availability(requested: str, available: Iterable[str]) -> None:
    """Raise ValueError with the nearest valid name if `requested` is not among `available`."""
    options = list(available)
    if requested not in options:
        raise ValueError(f"'{requested}' is not available{nearest(requested, options)}")


def set_random_seed(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators; torch seeds those of every device."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def download_url(url: str, dst: str | os.PathLike[str]) -> None:
    """Download `url` to the file `dst`; the final name appears only when the download is complete."""
    target = Path(dst)
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f'* url="{url}"')
    print(f'* destination="{dst}"')
    torch.hub.download_url_to_file(url, str(target))


def collect_env_info() -> str:
    """Describe versions and accelerators, one fact a line."""
    lines = [
        f"Python: {platform.python_version()}",
        f"OS: {platform.platform()}",
        f"PyTorch: {torch.__version__}",
        f"CUDA (build): {torch.version.cuda}",
        f"cuDNN: {torch.backends.cudnn.version()}",
    ]
    if torch.cuda.is_available():
        lines += [f"GPU {i}: {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    elif torch.backends.mps.is_available():
        lines.append("GPU: Apple (MPS)")
    lines += [f"CPU threads: {torch.get_num_threads()}", f"NumPy: {np.__version__}", f"Pillow: {PIL.__version__}"]
    return "\n".join(lines)
