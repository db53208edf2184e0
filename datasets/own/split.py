"""The split that own data get where none is given: 50% train, 20% validation, 30% test of each class.

An image's place in its class is the rank of a hash of its path, so that one image more or less moves no other by more
than one place: of each class at most one image changes its part at each of the two boundaries. (A shuffle, as CoOp's,
would redraw all three lists, and images once trained on would be tested on.)
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable

from ..shared.files import Item, Splits
from ..shared.splits import cut_each


def split_by_path(groups: Iterable[list[Item]]) -> Splits:
    """Bring each class into the order of `rank` and cut it at `boundaries`; ValueError for one that is too small."""
    return cut_each(groups, lambda items: sorted(items, key=lambda item: rank(item.impath)), boundaries)


def boundaries(count: int) -> tuple[int, int]:
    """Return where validation and test begin among ``count`` images: half (rounded half to even), 70% (half down).

    CoOp rounds 20% by itself, so that its second boundary can move by two when one image comes (from 17 to 18).
    """
    return round(count / 2), (7 * count + 4) // 10


def rank(path: str) -> tuple[bytes, str]:
    """Return what a path (with ``/``, in the images' folder) is sorted by, whatever its Unicode form.

    The folder is hashed too, so that equal file names in two classes do not share their fate.
    """
    name = unicodedata.normalize("NFC", path)
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest(), path
