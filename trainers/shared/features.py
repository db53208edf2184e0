"""Features of the frozen towers that are computed once, and methods that are fitted to them in one go.

Shapes: B images, N images of a list, C classes, d joint width.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from clip.model import CLIP
from dassl.data.data_manager import build_data_loader
from dassl.data.datasets import build_dataset

from . import engine
from .base import CLIPTrainer
from .cached_features import FeatureSet
from .cosine import frozen_features, l2_normalize
from .templates import fill, prompt_tokens, tokenizer_of

HELD_OUT = 4  # images per class, CoOp's largest few-shot validation set


class Features(NamedTuple):
    """What the image tower gives for a list of images."""

    values: Tensor  # [N, d], at least float32, not normalised
    labels: Tensor  # [N]


@torch.no_grad()
def template_features(clip_model: CLIP, classnames: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Return unit features ``[C, d]`` of classes: each template's normalised, averaged, normalised again."""
    each = [l2_normalize(encode_prompts(clip_model, fill(template, classnames))) for template in templates]
    return l2_normalize(torch.stack(each).mean(dim=0))


@torch.no_grad()
def encode_prompts(clip_model: CLIP, prompts: Sequence[str]) -> Tensor:
    """Return features ``[C, d]`` of prompts as the text tower gives them. Raises as ``prompt_tokens``."""
    return clip_model.encode_text(prompt_tokens(prompts, tokenizer_of(clip_model)))


@torch.no_grad()
def features_of_batches(clip_model: CLIP, batches: Iterable[Mapping[str, Any]], projected: bool = True) -> Features:
    """Return features of all images of ``batches``, in their order, as ``frozen_features`` gives them."""
    device = clip_model.logit_scale.device
    values, labels = [], []
    for batch in tqdm(batches, disable=None):
        values.append(frozen_features(clip_model, batch["img"].to(device, non_blocking=True), projected))
        labels.append(batch["label"].to(device))
    return Features(torch.cat(values), torch.cat(labels))


def loader_of(
    cfg: Any, items: Sequence[Any], like: DataLoader, shuffle: bool = False, cached: bool = False
) -> DataLoader:
    """Return a loader over all of ``items``, the last batch included, transformed as by the loader ``like``.

    Batches are those of training if images come shuffled, else those of testing, with features where ``like`` has
    them. ``cached`` keeps decoded images in memory, for lists that are read more than once, where the installed Dassl
    can.
    """
    node = cfg.DATALOADER
    dataset: Any = like.dataset
    of_features = isinstance(dataset, FeatureSet)
    cache = {"cache_gb": node.CACHE_GB} if cached and engine.OURS and not of_features else {}
    loader = build_data_loader(
        cfg,
        sampler_type="RandomSampler" if shuffle else "SequentialSampler",
        data_source=items,
        batch_size=node.TRAIN_X.BATCH_SIZE if shuffle else node.TEST.BATCH_SIZE,
        tfm=dataset.transform,
        is_train=False,
        **cache,
    )
    return dataset.source.over(loader, dataset.train) if of_features else loader


def whole_dataset(cfg: Any) -> Any:
    """Return the run's data set and classes without a few-shot draw."""
    whole = cfg.clone()
    whole.defrost()
    whole.DATASET.NUM_SHOTS = -1
    whole.freeze()
    return build_dataset(whole)


def validation_images(cfg: Any, dataset: Any, few: bool, train: Sequence[Any] | None = None) -> list[Any]:
    """Return images to choose settings on that neither training (``train``, by default the run's) nor the test uses.

    With ``few`` the validation images of the run's few-shot draw (at most 4 per class), else the data set's whole
    validation split. Where that is empty or the test split itself (ImageNet), training images that were not drawn,
    as many per class as the few-shot draw would have. Raises ValueError where there are none either.
    """
    drawn = dataset.val if few else whole_dataset(cfg).val
    if drawn and {item.impath for item in drawn}.isdisjoint(item.impath for item in dataset.test):
        return list(drawn)
    used = {item.impath for item in train or dataset.train_x}
    left: dict[int, list[Any]] = {}
    for item in whole_dataset(cfg).train_x:
        if item.impath not in used:
            left.setdefault(item.label, []).append(item)
    count = HELD_OUT if cfg.DATASET.NUM_SHOTS < 1 else min(HELD_OUT, cfg.DATASET.NUM_SHOTS)
    draw = random.Random(cfg.SEED)
    held_out = [item for _, items in sorted(left.items()) for item in draw.sample(items, min(count, len(items)))]
    if not held_out:
        raise ValueError(
            f"{cfg.DATASET.NAME} has no validation images, and training takes all others: "
            "nothing is left to choose settings on"
        )
    print(f"{cfg.DATASET.NAME} has no validation images of its own: {len(held_out)} unused training images serve")
    return held_out


def places_among(classnames: Sequence[str], trained: Sequence[str]) -> list[int] | None:
    """Return the place of each class of ``trained`` in ``classnames``; None unless both hold the same names.

    Classes that share a name keep their order.
    """
    if sorted(classnames) != sorted(trained):
        return None
    mine, theirs = (sorted(range(len(names)), key=names.__getitem__) for names in (classnames, trained))
    places = [0] * len(trained)
    for own, other in zip(mine, theirs, strict=True):
        places[other] = own
    return places


def rows_among(classnames: Sequence[str], trained: Sequence[str]) -> list[int]:
    """Return the place of each class in ``trained``, or nothing unless all of them are there."""
    places = places_among(classnames, trained)
    if places is not None:
        return sorted(range(len(places)), key=places.__getitem__)
    rows = row_of_each(classnames, trained)
    return rows if min(rows) >= 0 else []


def row_of_each(classnames: Sequence[str], trained: Sequence[str]) -> list[int]:
    """Return the place of each class in ``trained``, -1 where it is not there; of equal names the last."""
    known = {name: row for row, name in enumerate(trained)}
    return [known.get(name, -1) for name in classnames]


class FittedTrainer(CLIPTrainer):
    """Base of methods that are fitted in one go: ``fit`` stands where others have epochs.

    What was fitted is kept as the checkpoint of epoch 1; a run that has it does not fit again.
    """

    def build_model(self) -> None:
        """Build the model; the run has no steps, and so no optimiser."""
        super().build_model()
        self.max_epoch = 1
        if not self.get_model_names():
            self.register_model(self.registered_name, self.model)

    def build_optim(self) -> None:
        """Set nothing: what learns by gradients does so within ``fit``."""
        self.optim = self.sched = None

    def run_epoch(self) -> None:
        """Fit."""
        self.set_model_mode("eval")
        with torch.no_grad(), self.autocast():
            self.fit()

    def fit(self) -> None:
        """Fill the method from the training data."""
        raise NotImplementedError
