"""A jump ahead in torch's CPU generator, the Mersenne Twister MT19937 (Matsumoto and Nishimura, 1998).

Its words w_0, w_1, ... obey a linear recurrence over GF(2) with a characteristic polynomial p of degree 19937. So with
x^n mod p = sum of x^i over i in I, w_(k+n) is the exclusive or of all w_(k+i): what drawing n numbers would leave,
without drawing them. Polynomials are integers here, bit i for x^i.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

WORDS, MIDDLE, DEGREE = 624, 397, 19937
TWIST = 0x9908B0DF
UPPER, LOWER = np.uint32(0x80000000), np.uint32(0x7FFFFFFF)
SIZE = 5056  # bytes of torch.get_rng_state()
AT = slice(24, 24 + 8 * WORDS)  # the words in it, each in 8 bytes


def jump(blocks: int) -> None:
    """Leave out ``blocks`` times 624 numbers of torch's CPU generator, from which one at least was drawn.

    Raises RuntimeError where torch keeps its state in another form.
    """
    state = torch.get_rng_state()
    if len(state) != SIZE:
        raise RuntimeError(
            f"this torch keeps its generator in {len(state)} bytes, not {SIZE}: clip/mersenne.py needs a look"
        )
    words = state[AT].numpy().view(np.uint64).astype(np.uint32)
    stream = _stream(words, WORDS + DEGREE)
    terms = np.flatnonzero(_bits(power(WORDS * blocks)))
    ahead = np.bitwise_xor.reduce(np.lib.stride_tricks.sliding_window_view(stream, WORDS)[terms], axis=0)
    state[AT] = torch.from_numpy(ahead.astype(np.uint64).view(np.uint8))
    torch.set_rng_state(state)


def _stream(words: np.ndarray, length: int) -> np.ndarray:
    """Yield the generator's words from the 624 at hand on."""
    stream = np.empty(length, np.uint32)
    stream[:WORDS] = words
    lag = WORDS - MIDDLE
    for start in range(0, length - WORDS, lag):
        count = min(lag, length - WORDS - start)
        here = stream[start : start + count + 1]
        mixed = (here[:-1] & UPPER) | (here[1:] & LOWER)
        twisted = (mixed >> 1) ^ np.where(mixed & 1, np.uint32(TWIST), np.uint32(0))
        stream[start + WORDS : start + WORDS + count] = stream[start + MIDDLE : start + MIDDLE + count] ^ twisted
    return stream


@functools.cache
def characteristic() -> int:
    """Return p (appendix A): with u = x^624 + x^397 and v = u / x, u (v^31 + a_0 v^30 + ... + a_30) + a_31."""
    value = 1
    for j in range(31):
        value = (value << WORDS - 1) ^ (value << MIDDLE - 1) ^ (TWIST >> j & 1)
    return (value << WORDS) ^ (value << MIDDLE) ^ (TWIST >> 31)


@functools.cache
def power(exponent: int) -> int:
    """Return x^exponent mod p, by squaring."""
    low = characteristic() ^ 1 << DEGREE
    terms = np.flatnonzero(_bits(low)).tolist()
    digits = bin(exponent)[2:]
    value = 1 << int(digits[:14], 2)  # of a degree below p's
    for digit in digits[14:]:
        value = _square(value) << int(digit)
        while value >> DEGREE:
            high = value >> DEGREE
            value ^= high << DEGREE
            for term in terms:
                value ^= high << term
    return value


def _bits(polynomial: int) -> np.ndarray:
    size = polynomial.bit_length() // 8 + 1
    return np.unpackbits(np.frombuffer(polynomial.to_bytes(size, "little"), np.uint8), bitorder="little")


def _square(polynomial: int) -> int:
    bits = _bits(polynomial)
    spread = np.zeros(2 * len(bits), np.uint8)
    spread[::2] = bits
    return int.from_bytes(np.packbits(spread, bitorder="little").tobytes(), "little")
