"""Class probabilities of images, in the precision and with the preprocessing of a run's own evaluation.

Shapes: N images, B of them at a time, C classes, H x W pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from common.names import suggest
from dassl.cores import available
from dassl.evaluation import macro_f1
from dassl.utils.images import AS_STORED, Reading, read_image, to_rgb
from datasets.own.class_names import name_key
from trainers.shared.base import autocast, in_passes
from trainers.shared.cosine import clip_image_features, l2_normalize
from trainers.shared.method import Method

ImageLike = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor
OnError = Callable[[int, OSError], None]


class Classifier:
    """A method over a fixed list of classes, ready to score.

    Attributes:
        classes: names, in the order of the probabilities.
        preprocess: a PIL image (RGB) to a tensor ``[3, H, W]``.
        about: where it comes from, as plain values: method, run_id, backbone, weights, epoch, template, precision,
            seen (the classes are exactly those trained on; None where nothing was trained), preprocessing.
        reading: how image files are read, and whether PIL images are turned upright: as in the run.
        class_features: the method's own, computed once.
    """

    def __init__(
        self,
        method: Method,
        classes: Sequence[str],
        preprocess: Callable[[Image.Image], Tensor],
        device: torch.device,
        about: dict[str, Any],
        order: Sequence[int] | None = None,
        reading: Reading = AS_STORED,
    ):
        self.reading = reading
        self.method = method.eval().requires_grad_(False)
        self.classes, self.preprocess, self.device, self.about = list(classes), preprocess, device, about
        in_order = order is None or list(order) == list(range(len(self.classes)))
        self._order = None if in_order else torch.tensor(order, device=device)  # of the method's columns
        with torch.no_grad(), self._autocast():
            self.class_features = method.class_features()

    def forward(self, images: Tensor, class_features: Any) -> Tensor:
        """Return probabilities ``[B, C]`` of preprocessed images ``[B, 3, H, W]``; both arguments are on the device."""
        found = self.method.probabilities(self.method.scores(images, class_features))
        return found if self._order is None else found.index_select(-1, self._order)

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Return probabilities ``[B, C]``, float32 on the CPU, of preprocessed images ``[B, 3, H, W]``."""
        with self._autocast():
            # In the passes of the run's own evaluation: a product's last bit may depend on how many images it takes.
            found = in_passes(lambda part: self.forward(part, self.class_features), images.to(self.device))
            return found.float().cpu()

    def predict(
        self,
        images: ImageLike | Sequence[ImageLike],
        batch_size: int = 64,
        progress: bool = False,
        on_error: OnError | None = None,
    ) -> Tensor:
        """Return probabilities ``[N, C]``, float32 on the CPU; rows are in the order of ``images``.

        Args:
            images: one or several file paths, PIL images, arrays ``[H, W, 3]`` of uint8 (RGB) or preprocessed tensors
                ``[3, H, W]``; or one array or tensor of N of them.
            batch_size: images that are scored at once.
            progress: show a bar where stderr is a terminal.
            on_error: called with the number of an image that cannot be read and its error; the row is then NaN.
                Without it, such an image raises OSError naming the file.

        Raises FloatingPointError, naming the first image, where probabilities are not finite.
        """
        items = _items(images)
        out = torch.full((len(items), len(self.classes)), float("nan"))
        with tqdm(total=len(items), unit="image", disable=None if progress else True) as bar:
            for start, batch in self._read_ahead(items, batch_size):
                good = {i: tensor for i, tensor in enumerate(batch, start) if isinstance(tensor, Tensor)}
                for i, error in enumerate(batch, start):
                    if isinstance(error, OSError):
                        if on_error is None:
                            raise error
                        on_error(i, error)
                if good:
                    found = self.probabilities(torch.stack(list(good.values())))
                    self._check(found, [items[i] for i in good])
                    out[list(good)] = found
                bar.update(len(batch))
        return out

    @torch.no_grad()
    def features(self, images: ImageLike | Sequence[ImageLike], batch_size: int = 64) -> Tensor:
        """Return unit image features ``[N, d]``, float32 on the CPU, of images as ``predict`` takes them.

        They are the method's own where it has one image feature, else those of CLIP that it starts from.
        """
        found = []
        for _, batch in self._read_ahead(_items(images), batch_size):
            for error in batch:
                if isinstance(error, OSError):
                    raise error
            pixels = torch.stack([image for image in batch if isinstance(image, Tensor)]).to(self.device)
            with self._autocast():
                own = self.method.image_features(pixels) if self.method.changes_image_feature else None
                frozen = clip_image_features(self.method.clip_model, pixels) if own is None else own
            found.append(l2_normalize(frozen).float().cpu())
        return torch.cat(found)

    def evaluate(self, source: str | os.PathLike[str]) -> dict[str, Any]:
        """Return how well images of known classes are classified: a folder or table of them (docs/your-own-data.md).

        Where it has a part for testing, these count. Classes are matched by name, and may be some of the classifier's.

        Returns:
            accuracy and macro_f1 in percent (over the classes that occur), images, and per_class: a list of
            class, images and accuracy.

        Raises:
            ValueError, OSError: an image or the folder cannot be read, or has a class that the classifier has not.
        """
        from .fitting.images import read

        found = read(Path(source))
        items = found.given.get("test") or found.all
        places = {name_key(name): place for place, name in enumerate(self.classes)}
        unknown = [name for name in found.classes if name_key(name) not in places]
        if unknown:
            raise ValueError(f"{source} has the class {unknown[0]!r}; {suggest(unknown[0], self.classes)}")
        true = np.array([places[name_key(item.classname)] for item in items])
        predicted = self.predict([Path(found.folder, item.impath) for item in items]).argmax(dim=1).numpy()
        hits = predicted == true
        of_class = {self.classes[place]: hits[true == place] for place in sorted(set(true.tolist()))}
        return {
            "accuracy": 100 * float(hits.mean()),
            "macro_f1": macro_f1(true.tolist(), predicted.tolist()),
            "images": len(items),
            "per_class": [
                {"class": name, "images": len(some), "accuracy": 100 * float(some.mean())}
                for name, some in of_class.items()
            ],
        }

    def __repr__(self) -> str:
        """Return what it is, such as `<Classifier MMRL over ViT-B/16: 10 classes (zero, one, ...), cpu>`."""
        names = ", ".join(self.classes[:3]) + (", ..." if len(self.classes) > 3 else "")
        about = f"{self.about['method']} over {self.about['backbone']}"
        return f"<Classifier {about}: {len(self.classes)} classes ({names}), {self.device}>"

    def top(self, probabilities: Tensor, k: int = 5) -> list[list[tuple[str, float]]]:
        """Return the ``k`` likeliest classes, or all, of each row of ``[N, C]``, as (class, probability)."""
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        values, indices = probabilities.topk(min(k, len(self.classes)), dim=-1)
        rows = zip(indices.tolist(), values.tolist(), strict=True)
        return [[(self.classes[i], p) for i, p in zip(*row, strict=True)] for row in rows]

    def _check(self, probabilities: Tensor, items: Sequence[ImageLike]) -> None:
        sound = probabilities.isfinite().all(dim=1).tolist()
        if all(sound):
            return
        item = items[sound.index(False)]
        name = item if isinstance(item, str | os.PathLike) else "an image"
        method, precision = self.about["method"], self.about["precision"]
        raise FloatingPointError(
            f"{method} gives {name} probabilities that are NaN or infinite: nothing is predicted; its training "
            f"diverged, or {precision} is too coarse: use the precision fp32"
        )

    def _autocast(self) -> Any:
        return autocast(self.about["precision"], self.device)

    def _read_ahead(self, items: Sequence[ImageLike], batch_size: int) -> Iterator[tuple[int, list[Tensor | OSError]]]:
        """Yield batches with the number of their first image; threads read the next while one is scored."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        starts = range(0, len(items), batch_size)
        with ThreadPoolExecutor(min(8, available())) as pool:
            ahead = pool.map(self._read, items[:batch_size])
            for start in starts:
                batch = list(ahead)
                ahead = pool.map(self._read, items[start + batch_size : start + 2 * batch_size])
                yield start, batch

    def prepare(self, image: str | os.PathLike[str] | Image.Image | np.ndarray) -> Tensor:
        """Return an image's preprocessed pixels ``[3, H, W]``. Raises OSError naming a file that cannot be read."""
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                shape = f"{image.dtype} {list(image.shape)}"
                raise ValueError(f"an array must be RGB pixels, uint8 [H, W, 3], not {shape}")
            image = Image.fromarray(image)
        if isinstance(image, Image.Image):
            return self.preprocess(to_rgb(image, self.reading.upright))
        return self.preprocess(read_image(image, self.reading))

    def _read(self, item: ImageLike) -> Tensor | OSError:
        if isinstance(item, Tensor):
            return item
        try:
            return self.prepare(item)
        except OSError as error:
            return error


def _items(images: ImageLike | Sequence[ImageLike]) -> Sequence[ImageLike]:
    if isinstance(images, Tensor | np.ndarray) and images.ndim == 4:
        return list(images)
    single = isinstance(images, str | os.PathLike | Image.Image | np.ndarray | Tensor)
    return [images] if single else list(images)  # type: ignore[list-item, arg-type]
