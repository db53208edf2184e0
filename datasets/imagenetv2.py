"""ImageNetV2 (Recht et al., 2019), matched frequency."""

from __future__ import annotations

import os

from dassl.data.datasets import DATASET_REGISTRY

from .imagenet import ImageNetVariant, note_count, test_only
from .shared.files import Item, Splits, class_files, class_folders


@DATASET_REGISTRY.register()
class ImageNetV2(ImageNetVariant):
    """All classes of ImageNet, 10 images each. A folder's name is its label, a line of ``classnames.txt``."""

    folder = "imagenetv2"
    images = "imagenetv2-matched-frequency-format-val"
    contents = "its folders 0 to 999"

    def read(self) -> Splits:
        names = list(self.names().values())
        folders = class_folders(self.image_dir)
        wanted = {str(label) for label in range(len(names))}
        wrong = sorted(set(folders) ^ wanted)
        if wrong:
            raise ValueError(
                f"{self.name}: {self.image_dir} must hold the folders 0 to {len(names) - 1}; {wrong[0]} is"
                f" {'missing' if wrong[0] in wanted else 'none of them'}: unpack a current archive again"
            )
        note_count(self.name, len(folders), self.class_count)
        items = []
        for label, name in enumerate(names):
            files = class_files(os.path.join(self.image_dir, str(label)))
            items += [Item(f"{label}/{file}", label, name) for file in files]
        return test_only(items)
