"""FGVC Aircraft (Maji et al., 2013): variants, official splits."""

from __future__ import annotations

from collections.abc import Callable

from dassl.data.datasets import DATASET_REGISTRY

from .shared.base import Loader
from .shared.files import Item, Splits, look_up, read_rows


@DATASET_REGISTRY.register()
class FGVCAircraft(Loader):
    """100 variants of aircraft. The dataset's folder is ``data`` of the archive, renamed."""

    folder = "fgvc_aircraft"
    images = "images"
    contents = "its images (the folder around them is the archive's data folder, renamed)"

    def read(self) -> Splits:
        return self.check(read_lists(self.annotation), self.dataset_dir)


def read_lists(path_of: Callable[[str], str]) -> Splits:
    """Read the official lists, whose paths ``path_of`` tells by their names; ValueError for an unknown variant."""
    variants = [fields[0] for _, fields in read_rows(path_of("variants.txt"), "variant")]
    labels = {variant: label for label, variant in enumerate(variants)}

    def items(name: str) -> list[Item]:
        return [
            Item(f"{image}.jpg", look_up(labels, variant, place), variant)
            for place, (image, variant) in read_rows(path_of(name), "image variant")
        ]

    return Splits(*(items(f"images_variant_{part}.txt") for part in Splits._fields))
