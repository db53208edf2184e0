"""Decoded training images kept in memory, so that a few-shot run decodes each file once."""

from __future__ import annotations

from collections.abc import Iterable
from multiprocessing.heap import BufferWrapper
from multiprocessing.sharedctypes import RawArray

from PIL import Image

from dassl.utils.images import AS_STORED, Reading, image_size, read_image

GB = 10**9
BYTES_PER_PIXEL = 3


class ImageCache:
    """RGB images at full size, each decoded at its first read, whoever reads it.

    One block of memory holds them all. With `shared`, the processes of a loader have it in common, forked or
    spawned. Its pages are taken as images arrive, so building a cache costs no time.

    Args:
        sizes: path -> (width, height) of each image.
        shared: whether processes started later read and fill the same memory.
        reading: how the files are read.
    """

    def __init__(self, sizes: dict[str, tuple[int, int]], shared: bool, reading: Reading = AS_STORED) -> None:
        self._reading = reading
        self._slots: dict[str, tuple[int, int, tuple[int, int]]] = {}  # path -> number, first byte, size
        start = 0
        for number, (path, size) in enumerate(sizes.items()):
            self._slots[path] = (number, start, size)
            start += decoded_bytes(size)
        # RawArray would write zeros over all of it at once, which takes seconds; only the flags must be zero.
        self._pixels = BufferWrapper(start) if shared else bytearray(start)
        self._filled = RawArray("B", len(sizes)) if shared else bytearray(len(sizes))

    def read(self, path: str) -> Image.Image:
        """Return the image, the same pixels as `read_image` gives, with its errors; KeyError for another path."""
        number, start, size = self._slots[path]
        pixels = self._view()[start : start + decoded_bytes(size)]
        if self._filled[number]:
            return Image.frombytes("RGB", size, pixels)
        image = read_image(path, self._reading)
        if image.size == size:  # else the file has changed since it was measured
            pixels[:] = image.tobytes()
            self._filled[number] = 1  # after the pixels: others may be reading
        return image

    def _view(self) -> memoryview:
        if isinstance(self._pixels, BufferWrapper):
            return self._pixels.create_memoryview()
        return memoryview(self._pixels)


def build_image_cache(
    paths: Iterable[str], limit_gb: float, shared: bool, reading: Reading = AS_STORED
) -> ImageCache | None:
    """Return a cache for images that take at most `limit_gb` GB decoded, else None; 0 asks for none.

    Reads the images' headers, up to the one that goes over the limit. Raises ValueError if `limit_gb` is
    negative, and `read_image`'s errors for a file without a header.
    """
    if limit_gb < 0:
        raise ValueError(f"DATALOADER.CACHE_GB is {limit_gb}; give 0 (no cache) or the GB to use at most")
    if limit_gb == 0:
        return None
    sizes: dict[str, tuple[int, int]] = {}
    left = limit_gb * GB
    for path in dict.fromkeys(paths):
        sizes[path] = image_size(path, reading)
        left -= decoded_bytes(sizes[path])
        if left < 0:
            print(f"The decoded training images exceed DATALOADER.CACHE_GB ({limit_gb} GB): not kept in memory")
            return None
    return ImageCache(sizes, shared, reading)


def decoded_bytes(size: tuple[int, int]) -> int:
    """Return the bytes of a decoded image of this (width, height)."""
    return size[0] * size[1] * BYTES_PER_PIXEL
