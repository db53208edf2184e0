"""FGVC Aircraft (Maji et al., 2013): variants, official splits."""

from __future__ import annotations

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
        variants = [fields[0] for _, fields in read_rows(self.annotation("variants.txt"), "variant")]
        labels = {variant: label for label, variant in enumerate(variants)}
        parts = (self._items(f"images_variant_{part}.txt", labels) for part in Splits._fields)
        return self.check(Splits(*parts), self.dataset_dir)

    def _items(self, name: str, labels: dict[str, int]) -> list[Item]:
        return [
            Item(f"{image}.jpg", look_up(labels, variant, place), variant)
            for place, (image, variant) in read_rows(self.annotation(name), "image variant")
        ]
