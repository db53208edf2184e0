"""CLAP, ZS-LP: A Closer Look at the Few-Shot Adaptation of Large Vision-Language Models (Silva-Rodriguez et al.).

CVPR 2024; ``ADAPTER`` is the name of both in the authors' release. A linear probe on frozen image features whose class
weights w start at the text features t. ZS-LP (``CONSTRAINT none``) learns them with cross-entropy; CLAP (``l2``, the
default) also holds each class to its start: CE + mean over classes of alpha_c |w_c - t_c|^2, where alpha_c is the mean
probability that zero-shot CLIP gives c on the training images of c.

Facts of the authors' release: t is the mean of the templates' features, none of them normalised, and w is normalised in
the scores alone; class names keep their underscores in prompts; ImageNet has eight templates. Before training 20 passes
(``EPOCHS_AUGMENTATION``) over the training images, each drawn anew by the training transform, give 20 N features. An
epoch takes batches of a new order of these by NumPy's generator, but only as many as the N images would fill (one if
they fill none), so that it sees about N of them. The published number is that of the last epoch.

The paper has an augmented Lagrangian, whose multipliers change in training. In the release they do so only under
constraints that no script uses, so here alpha stays as it was measured. The paper's sum over classes is a mean in the
release: C times weaker. ``INIT`` has its other baselines (RANDOM, TR, ...) there, and ZS alone here. There PREC fp16
is the precision in which t is computed, and all else is float32; here it is CLIP's.

Classes that were not trained on are scored by t alone, as the release has no rule for them.

Shapes: B images, N images of a list, C classes, d joint width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from clip.draws import Draw
from clip.layers import no_autocast
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .shared.base import CLIPTrainer
from .shared.cached_features import as_it_is
from .shared.class_rows import ClassRowsModel, mean_text_features, raw_templates
from .shared.cosine import l2_normalize
from .shared.features import Features, features_of_batches, loader_of
from .shared.official_stream import a_clip, stand

ROWS = 4096  # of features that alpha is measured on at once


class AdapterModel(ClassRowsModel):
    """The class weights ``prototypes`` ``[C, d]``, which start at t, and alpha ``[C]``.

    Args:
        clip_model: frozen CLIP.
        classnames: C names.
        base: t, not normalised.
        held: whether the loss holds the prototypes to t (CLAP).
    """

    alpha: Tensor

    def __init__(self, clip_model: CLIP, classnames: Sequence[str], base: Tensor, held: bool):
        super().__init__(clip_model, classnames, base)
        self.held = held
        self.prototypes = nn.Parameter(base.clone())
        self.register_buffer("alpha", base.new_zeros(len(base)), persistent=False)

    def weights(self) -> Tensor:
        """Return the prototypes."""
        return self.prototypes

    @torch.no_grad()
    def measure_alpha(self, features: Features) -> None:
        """Set alpha_c to the mean probability of c by zero-shot CLIP over the features of its images."""
        w, parts = l2_normalize(self.own), []
        for values, labels in zip(features.values.split(ROWS), features.labels.split(ROWS), strict=True):
            parts.append(self.probabilities(self.scores(values, w)).gather(1, labels[:, None])[:, 0])
        sums = torch.zeros_like(self.alpha).index_add(0, features.labels, torch.cat(parts).to(self.alpha))
        self.alpha = sums / features.labels.bincount(minlength=len(sums)).clamp_min(1)

    def penalty(self) -> Tensor:
        """Return the mean over classes of alpha_c |w_c - t_c|^2."""
        with no_autocast(self.own):
            return (self.alpha * (self.prototypes - self.own).square().sum(dim=1)).mean()

    def regularizer(self, w: Tensor) -> Tensor | float:
        """Return the penalty, for CLAP."""
        return self.penalty() if self.held else 0.0

    def ignores_checkpoint_key(self, key: str) -> bool:
        """Return whether it is frozen in official checkpoints: CLIP's scale, or t."""
        return key in ("logit_scale", "base_text_features")


class StoredFeatures(Dataset):
    """Features ``[N, d]`` with labels and the images' paths; an item is a whole batch, of these rows."""

    def __init__(self, features: Features, paths: list[str]):
        self.features, self.paths = features, paths

    def __getitem__(self, rows: list[int]) -> dict[str, Any]:
        """Return a batch as image loaders do, with features in the place of images."""
        values, labels = self.features
        index = torch.tensor(rows, device=labels.device)
        paths = [self.paths[row] for row in rows]
        return {"img": values.index_select(0, index), "label": labels.index_select(0, index), "impath": paths}


class FirstBatches(Sampler[list[int]]):
    """The first ``count`` batches of ``size`` rows, of a new order of ``rows`` rows that NumPy draws."""

    def __init__(self, rows: int, size: int, count: int):
        self.rows, self.size, self.count = rows, size, count

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.rand(self.rows).argsort()
        return (order[i * self.size : (i + 1) * self.size].tolist() for i in range(self.count))

    def __len__(self) -> int:
        return self.count


def before_passes(model: AdapterModel) -> Iterator[Draw]:
    """Yield what the release draws until its passes over the training images begin."""
    yield from a_clip(model)
    yield Draw("seed of the test loader", "uniform", (2,))


@TRAINER_REGISTRY.register()
class ADAPTER(CLIPTrainer):
    """Trainer of CLAP and ZS-LP."""

    registered_name = "adapter"
    on_frozen_features = True
    shape_settings = ("INIT", "CONSTRAINT")

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> AdapterModel:
        """Return prototypes at the features of these classes; ImageNet's are those of eight templates."""
        base = mean_text_features(clip_model, classnames, raw_templates(cfg))
        return AdapterModel(clip_model, classnames, base, cls.settings_of(cfg).constraint == "l2")

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """Yield a CLIP, a loader's seed of 64 bits for test features, and two (workers, order) for each pass."""
        yield from before_passes(model)
        yield Draw("seeds of the passes", "uniform", (4 * cls.settings_of(cfg).epochs_augmentation,))

    def before_train(self) -> None:
        """Store features and resume: in this order a resumed run stores those of the run that was killed."""
        with torch.random.fork_rng(devices=[]):
            if self.follows_public_code:
                stand(self.model, before_passes(self.model), self.cfg.SEED)
            self.store_features()
        super().before_train()

    def store_features(self) -> None:
        """Take steps from now on over features of augmented passes; measure alpha on them."""
        images = loader_of(self.cfg, self.dm.dataset.train_x, self.train_loader_x, shuffle=True, cached=True)
        passes, paths = self.settings.epochs_augmentation, list[str]()

        def batches() -> Iterator[Mapping[str, Any]]:
            for number in range(passes):
                print(f"Features: augmented pass {number + 1}/{passes} over {len(self.dm.dataset.train_x)} images")
                for batch in images:
                    paths.extend(batch["impath"])
                    yield batch

        with self.autocast():
            found = features_of_batches(self.model.clip_model, batches())
            if self.model.held:
                self.model.measure_alpha(found)
        order = FirstBatches(len(paths), self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE, len(self.train_loader_x))
        stored = StoredFeatures(found, paths)
        self.train_loader_x = DataLoader(stored, batch_size=None, sampler=order, collate_fn=as_it_is)  # type: ignore[arg-type]

    def steps_take_features(self) -> bool:
        """Return True."""
        return True
