"""Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification (Zhang et al., ECCV 2022), and its F.

The few-shot images become a cache: keys are their features, values their labels. An image is scored by zero-shot CLIP
and by what the cache says, z = 100 f W + alpha exp(-beta (1 - f K)) V. Tip-Adapter learns nothing; Tip-Adapter-F starts
from the keys and learns them. V is one-hot, so the product with it is a sum over each class's images.

Facts of the authors' release: a key is the mean of its image's features over ``AUGMENT_EPOCH`` augmented passes, not
normalised before averaging; the scale is the literal 100; F's rows are not normalised again while it learns; F's AdamW
has eps 1e-4 and a cosine per step without warm-up. The release works in half precision, with F's weight and its
updates in half; here the cache and what is learned are float32.

Selection. The release searches alpha and beta on the *whole* validation split, for ImageNet on its test images, keeps
the epoch of F that is best on the test images, and reports the better of two test accuracies. ``SELECTION``:

- ``val`` (default): everything on the whole validation split (for ImageNet: on training images that were not drawn);
- ``few_shot_val``: on the run's few-shot validation images, which is all that other few-shot methods may see;
- ``test_as_published``: as the release does it.

Classes without cached images (base to new, cross-dataset) are scored by the zero-shot term, which is all that remains.
The few-shot images are the run's own draw, CoOp's; the release draws others (one seed, with replacement if few).

Shapes: B images, N images in the cache, C classes, d joint width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clip.archives import UNREADABLE, read_saved
from clip.finite import is_finite
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from ..shared.base import CLIPTrainer
from ..shared.cosine import l2_normalize
from ..shared.features import (
    Features,
    FittedTrainer,
    features_of_batches,
    loader_of,
    template_features,
    validation_images,
    whole_dataset,
)
from ..shared.steps import StepTrainer
from ..shared.templates import ensemble_of
from .cache import TipAdapterFModel, TipAdapterModel, accuracy_of, search

ADAM_EPS = 1e-4


class _Cached(CLIPTrainer):
    """What both trainers share: text features, the cache, the images to choose alpha and beta on."""

    on_frozen_features = True
    model_class: type[TipAdapterModel]
    weight_file = "keys_{}shots.pt"

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> TipAdapterModel:
        """Return an empty cache beside the features of these classes; ImageNet's are those of seven templates."""
        settings = cls.settings_of(cfg)
        text = template_features(clip_model, classnames, ensemble_of(cfg))
        return cls.model_class(clip_model, classnames, text, settings.init_alpha, settings.init_beta)

    def build_cache(self) -> None:
        """Fill the cache with the training images, in their order, from augmented passes over them."""
        total: Any = 0
        passes = self.settings.augment_epoch
        loader = loader_of(self.cfg, self.dm.dataset.train_x, self.dm.train_loader_x, cached=True)
        for number in range(passes):
            print(f"Cache: augmented pass {number + 1}/{passes} over {len(self.dm.dataset.train_x)} images")
            found = features_of_batches(self.model.clip_model, loader)
            total = total + found.values
        self.model.set_cache(l2_normalize(total / passes), found.labels)

    def features_of(self, items: list[Any]) -> Features:
        """Return unit features of images without augmentation; the random generators stay as they are."""
        with torch.random.fork_rng(devices=[]), self.autocast():
            found = features_of_batches(self.model.clip_model, loader_of(self.cfg, items, self.dm.test_loader))
        return Features(l2_normalize(found.values), found.labels)

    def images_to_search_on(self) -> list[Any]:
        """Return the images that alpha and beta are chosen on."""
        how = self.settings.selection
        if how != "test_as_published":
            return validation_images(self.cfg, self.dm.dataset, few=how == "few_shot_val")
        return whole_dataset(self.cfg).val or self.dm.dataset.test

    def search(self, features: Features) -> float:
        """Set alpha and beta to those that do best on these unit features; returns the accuracy in percent."""
        found = search(self.model, features, self.settings.search_scale, self.settings.search_step)
        self.model.set_numbers(found.alpha, found.beta)
        print(f"Search: alpha {found.alpha:.4f}, beta {found.beta:.4f}, accuracy {found.accuracy:.2f}% where chosen")
        return found.accuracy

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load a run's folder, or the release's ``caches/DATASET`` (files of this run's number of shots).

        The release's files do not hold alpha and beta: these are searched again. Raises as the base does, and
        ValueError for a cache that does not fit the run.
        """
        shots = self.cfg.DATASET.NUM_SHOTS
        if not Path(directory, self.weight_file.format(shots)).is_file():
            super().load_model(directory, epoch)
            return
        keys, values = (read_tensor(Path(directory, f"{name}_{shots}shots.pt")) for name in ("keys", "values"))
        if self.weight_file.startswith("best_F"):
            keys = read_tensor(Path(directory, self.weight_file.format(shots))).t()
        wanted = (self.model.text.shape[1], len(values)), (keys.shape[1], len(self.model.classnames))
        if (tuple(keys.shape), tuple(values.shape)) != wanted:
            raise ValueError(
                f"the cache in {directory} does not fit this run: keys {list(keys.shape)} and values "
                f"{list(values.shape)} for features of width {wanted[0][0]} and {wanted[1][1]} classes"
            )
        self.model.set_cache(keys.t().float().to(self.device), values.argmax(dim=1).to(self.device))
        if self.settings.search_hp:
            self.search(self.features_of(self.images_to_search_on()))

    def test(self, split: str | None = None) -> float:
        """Evaluate; says so where the cache has no part in it."""
        if not self.seen_classes() and self.cfg.TASK != "JOINT":
            print("The cache has no images of these classes: they are scored by zero-shot CLIP alone")
        return super().test(split)


def read_tensor(path: Path) -> Tensor:
    """Load a tensor of the release to the CPU. Raises FileNotFoundError, or ValueError for what is none."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path} of the cache")
    try:
        found = read_saved(path)
    except UNREADABLE as error:
        raise ValueError(f"cannot load {path}: damaged, or not a tensor") from error
    if not isinstance(found, Tensor):
        raise ValueError(f"cannot load {path}: it holds a {type(found).__name__}, not a tensor")
    if not is_finite(found):
        raise ValueError(f"cannot load {path}: it holds NaN or infinity; build the cache again")
    return found.detach()


@TRAINER_REGISTRY.register()
class TipAdapter(_Cached, FittedTrainer):
    """Trainer of Tip-Adapter: builds the cache, then chooses alpha and beta."""

    registered_name = "tip_adapter"
    model_class = TipAdapterModel

    def fit(self) -> None:
        """Build the cache; then choose alpha and beta, unless SEARCH_HP is off."""
        self.build_cache()
        if self.settings.search_hp:
            self.search(self.features_of(self.images_to_search_on()))
            numbers = {"INIT_ALPHA": self.model.alpha.item(), "INIT_BETA": self.model.beta.item(), "SEARCH_HP": False}
            self.chosen = {self.settings.key(name): value for name, value in numbers.items()}


@TRAINER_REGISTRY.register()
class TipAdapterF(_Cached, StepTrainer):
    """Trainer of Tip-Adapter-F: builds the cache, learns its keys, keeps the best epoch, chooses alpha and beta.

    The best weight so far lies in the optimiser's state, where a resumed run finds it again.
    """

    registered_name = "tip_adapter_f"
    model_class = TipAdapterFModel
    weight_file = "best_F_{}shots.pt"

    def prepare_method(self) -> None:
        """Make a place in the cache for each training image."""
        self.model.make_room(torch.tensor([item.label for item in self.dm.dataset.train_x], device=self.device))

    def build_optim(self) -> None:
        """Set the optimiser, with the release's eps, and a schedule in steps."""
        super().build_optim()
        for group in self.optim.param_groups:
            group["eps"] = ADAM_EPS

    def before_train(self) -> None:
        """Resume; build the cache if nothing was resumed."""
        super().before_train()
        self._chosen_on: dict[str, Features] = {}
        if not self.model.weight.any():
            with torch.no_grad(), self.autocast():
                self.build_cache()

    def after_epoch(self) -> None:
        """Keep the weight if it is the best so far; after the last epoch take the best, and choose alpha and beta."""
        accuracy = accuracy_of(self.model, self._choice("epoch"))
        print(f"Epoch {self.epoch + 1}: accuracy {accuracy:.2f}% where the epoch is chosen")
        kept = self.optim.state[self.model.weight]
        if accuracy > self.best_result:
            self.best_result = accuracy
            kept["best"] = self.model.weight.detach().clone()
        if self.epoch + 1 == self.max_epoch:
            self.model.weight.data.copy_(kept["best"])
            if self.settings.search_hp:
                self._choose_numbers()
        super().after_epoch()

    def _choose_numbers(self) -> None:
        """Set alpha and beta: the searched ones, or the initial ones if they do better where the epoch is chosen."""
        self.search(self._choice("numbers"))
        if accuracy_of(self.model, self._choice("epoch")) < self.best_result:
            print("The initial alpha and beta do better where the epoch was chosen: they stay")
            self.model.set_numbers(self.settings.init_alpha, self.settings.init_beta)

    def _choice(self, of: str) -> Features:
        """Return features that the ``epoch`` or the ``numbers`` are chosen on; computed once."""
        if not self._chosen_on:
            numbers = self.features_of(self.images_to_search_on())
            published = self.settings.selection == "test_as_published"
            self._chosen_on["numbers"] = numbers
            self._chosen_on["epoch"] = self.features_of(self.dm.dataset.test) if published else numbers
        return self._chosen_on[of]
