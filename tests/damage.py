"""Damaged copies of a file's content, for the tests that nothing damaged is read unnoticed."""

from __future__ import annotations

import random
from collections.abc import Iterator

FLIPS, CUTS = 200, 50


def damages(whole: bytes) -> Iterator[tuple[bool, bytes]]:
    """FLIPS copies with one bit flipped and CUTS shortened ones, at random places that are the same each time.

    Yields whether the copy is shortened, and the copy.
    """
    dice = random.Random(0)
    for _ in range(FLIPS):
        flipped = bytearray(whole)
        flipped[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        yield False, bytes(flipped)
    for _ in range(CUTS):
        yield True, whole[: dice.randrange(len(whole))]
