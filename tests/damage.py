"""Damaged copies of a file's content, for the tests that nothing damaged is read unnoticed."""

from __future__ import annotations

import random
from collections.abc import Iterator

FLIPS, CUTS = 200, 50


def damages(whole: bytes) -> Iterator[tuple[bool, bytes]]:
    """Yield FLIPS copies with one bit flipped and CUTS shortened ones, at random places that are the same each time.

    Before each copy stands whether it is shortened.
    """
    dice = random.Random(0)
    for _ in range(FLIPS):
        flipped = bytearray(whole)
        flipped[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        yield False, bytes(flipped)
    for _ in range(CUTS):
        yield True, whole[: dice.randrange(len(whole))]


def spread_flips(size: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield places in a file of `size` bytes, and a bit for each: both ends, and one in each of `count` equal parts."""
    dice = random.Random(0)
    places = [dice.randrange(size * part // count, size * (part + 1) // count) for part in range(count)]
    for place in (0, *places, size - 1):
        yield place, 1 << dice.randrange(8)
