"""Tip-Adapter and Tip-Adapter-F, plainly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reference import Reference
from trainers.shared.cosine import l2_normalize
from trainers.shared.features import Features, features_of_batches
from trainers.shared.templates import ensemble_of
from trainers.tipadapter.cache import accuracy_of, search
from trainers.tipadapter.method import ADAM_EPS

from .shared import official
from .shared.numbers import Numbers
from .shared.plain import Learned, PlainFrozenText, Weights, token_ids
from .shared.recipe import arrays_of, fill

SHOTS = 16


class PlainTipAdapter(PlainFrozenText):
    """z = 100 f W + alpha exp(-beta (1 - f K)) V; ``templates`` holds the tokens ``[C, 77]`` of each template.

    The cache has SHOTS images of each class, in the order of the classes; its keys are learned (``weight`` ``[N, d]``)
    or not (``cache_keys`` ``[d, N]``). The text is encoded once, as in ours.
    """

    def __init__(self, weights: Weights, templates: list[Tensor], alpha: float = 1.0, beta: float = 1.0):
        super().__init__(weights, templates)
        self.alpha, self.beta = alpha, beta

    def scores(self, learned: Learned, images: Tensor, class_features: Tensor, seen: bool = True) -> Tensor:
        """z ``[B, C]``; classes that the cache has no images of are scored without it."""
        if not seen:
            return 100 * self.image_features(learned, images) @ class_features.t()
        keys = learned["weight"] if "weight" in learned else learned["cache_keys"].t()
        return self.with_cache(keys, labels_of(len(class_features)).to(keys.device), images)

    def keys(self, passes: list[Tensor]) -> Tensor:
        """K ``[N, d]`` of augmented passes over the same images, each ``[N, 3, H, W]``."""
        each = torch.stack([self.clip.raw_image_feature(images) for images in passes])
        return F.normalize(each.mean(dim=0), dim=-1)

    def with_cache(self, keys: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        """``[B, C]`` with cached keys ``[N, d]`` and their labels ``[N]``."""
        f = self.image_features({}, images)
        values = F.one_hot(labels, len(self.text)).to(f.dtype)
        return 100 * f @ self.text.t() + self.alpha * torch.exp(-self.beta * (1 - f @ keys.t())) @ values

    def best(
        self, keys: Tensor, cached: Tensor, f: Tensor, labels: Tensor, scale: list[float], steps: list[int]
    ) -> tuple[float, float, float]:
        """Beta, alpha and the share of right answers of the first best pair of the grid, beta in the outer loop."""
        values = F.one_hot(cached, len(self.text)).to(f.dtype)
        found = (0.0, 0.0, -1.0)
        for i in range(steps[0]):
            beta = i * (scale[0] - 0.1) / steps[0] + 0.1
            for j in range(steps[1]):
                alpha = j * (scale[1] - 0.1) / steps[1] + 0.1
                z = 100 * f @ self.text.t() + alpha * torch.exp(-beta * (1 - f @ keys.t())) @ values
                right = (z.argmax(dim=1) == labels).double().mean().item()
                if right > found[2]:
                    found = beta, alpha, right
        return found


def labels_of(classes: int) -> Tensor:
    """Return the labels [N] of the compared cache."""
    return torch.arange(classes).repeat_interleave(SHOTS)


def ready(model: Any) -> None:
    """Put random keys into the cache."""
    labels = labels_of(len(model.text))
    keys = l2_normalize(torch.randn(len(labels), model.text.shape[1]))
    model.set_cache(keys.to(model.text), labels.to(model.text.device))


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainTipAdapter:
    """Build the equations."""
    node = cfg.TRAINER.TIPADAPTER
    tokens = [token_ids(weights, template, names) for template in ensemble_of(cfg)]
    return PlainTipAdapter(weights, tokens, node.INIT_ALPHA, node.INIT_BETA)


def draw(pick: Any, vision: int, text: int) -> dict[str, Any]:
    """Choose the cache's weight and sharpness."""
    return {
        "TRAINER.TIPADAPTER.INIT_ALPHA": pick([0.0, 0.5, 3.0]),
        "TRAINER.TIPADAPTER.INIT_BETA": pick([0.25, 1.0, 5.5]),
    }


class Golden(Numbers):
    """Cache, scores, and the search on validation images."""

    def fill(self) -> None:
        """Put the setting's images into the cache: the mean of augmented passes over them."""
        labels, side = self.setting["cache_labels"], self.setting["clip"]["res"]
        passes = [
            self._encode(fill(f"cache_images/{number}", (len(labels), 3, side, side), 1.0), labels, batch=7)
            for number in range(self.cfg.TRAINER.TIPADAPTER.AUGMENT_EPOCH)
        ]
        mean = torch.stack([found.values for found in passes]).mean(dim=0)
        self.model.set_cache(l2_normalize(mean), passes[0].labels)
        self.val, self.test = (self._features(part) for part in ("val", "test"))

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training and search."""
        model, val, test = self.model, self.val.values, self.test.values
        return {
            "clip_weights": model.text.t(),
            "cache_keys": self.keys(),
            "cache_values": F.one_hot(model.cache_labels, len(self.setting["classes"])).float(),
            "val_features": val,
            "test_features": test,
            "val_logits_zs": model.scale * val @ model.text.t(),
            "test_logits_zs": model.scale * test @ model.text.t(),
            "val_logits_init": model.logits(val),
            "logits": model.logits(test),
        }

    def keys(self) -> Tensor:
        """The cache's keys ``[d, N]``."""
        return self.model.cache_keys

    def after(self) -> dict[str, Tensor]:
        """The search's accuracies, what it finds, and the scores with that."""
        node = self.cfg.TRAINER.TIPADAPTER
        found = search(self.model, self.val, node.SEARCH_SCALE, node.SEARCH_STEP)
        self.model.set_numbers(found.alpha, found.beta)
        best = torch.tensor([found.beta, found.alpha], dtype=torch.float64)
        return {
            "search_acc": found.grid,
            "test_logits_best": self.model.logits(self.test.values),
            "best_beta_alpha": best,
        }

    def _encode(self, images: Tensor, labels: list[int], batch: int) -> Features:
        def batches() -> Iterator[dict[str, Tensor]]:
            for start in range(0, len(images), batch):
                part = slice(start, start + batch)
                yield {"img": images[part], "label": torch.tensor(labels[part])}

        return features_of_batches(self.model.clip_model, batches())

    def _features(self, part: str) -> Features:
        images = self.near(f"{part}_images", self.setting["images"][f"{part}_from"])
        found = self._encode(images, self.setting[f"{part}_labels"], batch=len(images))
        return Features(l2_normalize(found.values), found.labels)

    def near(self, name: str, sources: list[int]) -> Tensor:
        """Images near those of the first pass: 0.9 of the source's and 0.5 of fresh noise."""
        side = self.setting["clip"]["res"]
        first = fill("cache_images/0", (len(self.setting["cache_labels"]), 3, side, side), 1.0)
        return 0.9 * first[sources] + 0.5 * fill(name, (len(sources), 3, side, side), 1.0)


class GoldenF(Golden):
    """The same arrays, and those of the keys' training, after which is the search."""

    def keys(self) -> Tensor:
        """The cache's keys ``[d, N]``."""
        return self.model.weight.t()

    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """Images and labels of the training batches."""
        return [
            (self.near(f"f_images/{i}", batch["FROM"]), torch.tensor(batch["labels"]))
            for i, batch in enumerate(self.setting["f_batches"])
        ]

    def plain_loss(self, plain: Any, learned: Learned) -> Tensor:
        images, labels = self.batches()[0]
        return F.cross_entropy(plain.with_cache(learned["weight"], self.model.cache_labels, images), labels)

    def train(self) -> dict[str, np.ndarray]:
        """The release's course: a cosine per step, the epoch that does best on the test images; leaves its weight."""
        model, test, batches = self.model, self.test, self.batches()
        numbers = self.setting["optimizer"]
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=numbers["lr"], eps=ADAM_EPS, weight_decay=numbers["weight_decay"]
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.setting["train_epoch"] * len(batches))
        arrays = arrays_of({f"train_features/{i}": model.image_features(x) for i, (x, _) in enumerate(batches)})
        losses: list[float] = []
        rates, epochs, accuracies, weights = [], [], [], []
        for _ in range(self.setting["train_epoch"]):
            for images, labels in batches:
                loss, scores = model.loss(images, labels)
                optimizer.zero_grad()
                loss.backward()
                if not losses:
                    grad = {"gradnorm/weight": model.weight.grad.norm(), "grad/weight": model.weight.grad}
                    arrays |= arrays_of({"loss0": loss, "train_logits0": scores, **grad})
                losses.append(loss.item())
                rates.append(schedule.get_last_lr()[0])
                optimizer.step()
                schedule.step()
            with torch.no_grad():
                epochs.append(model.logits(test.values))
            accuracies.append(accuracy_of(model, test))
            weights.append(model.weight.detach().clone())
        best = int(np.argmax(accuracies))
        arrays |= arrays_of({"eval_logits": epochs[-1], "eval_logits_epoch": torch.stack(epochs)})
        model.weight.data.copy_(weights[best])
        return arrays | {
            "final/weight": weights[-1].numpy(),
            "losses": np.array(losses),
            "lr": np.array(rates),
            "best_epoch": np.array(best),
        }


@dataclass(frozen=True)
class Cache(official.Official):
    """The release's files: half precision, keys ``[d, N]``, values one-hot, and the learned keys as a parameter."""

    def write(self, folder: Path, strangers: official.State | None = None) -> official.State:
        """Write the files beside ``folder``'s other ones. Return what our model must then hold."""
        torch.manual_seed(0)
        labels = torch.arange(official.CLASSES).repeat_interleave(official.SHOTS)
        keys = F.normalize(torch.randn(len(labels), official.JOINT), dim=-1).half()
        weight = torch.randn(len(labels), official.JOINT).half()
        values, parameter = F.one_hot(labels).half(), torch.nn.Parameter(weight)
        folder.mkdir(exist_ok=True)
        for name, value in {"keys": keys.t(), "values": values, "best_F": parameter}.items():
            torch.save(value, folder / f"{name}_{official.SHOTS}shots.pt")
        own = {"weight": weight} if "weight" in self.learned else {"cache_keys": keys.t()}
        return {"cache_labels": labels, **own}


NUMBERS = frozenset({"alpha", "beta"})
COMMAND = {"commands": "its public code has a command line of another form"}

TipAdapter = Reference(
    plain,
    draw=draw,
    toy={"TRAINER.TIPADAPTER.AUGMENT_EPOCH": 1, "TRAINER.TIPADAPTER.SEARCH_STEP": [5, 4]},
    ready=ready,
    learns=False,
    numbers=Golden,
    checkpoints=(Cache("vit_b16", "", 0, {"cache_keys": ()}, best=True, searched=NUMBERS),),
    lacks={**COMMAND, "draws": "what its public code draws is not known"},
)
TipAdapterF = replace(
    TipAdapter,
    learns=True,
    bench={"TRAINER.TIPADAPTER.INIT_ALPHA": 1.5},
    beside=NUMBERS | {"cache_labels"},
    numbers=GoldenF,
    checkpoints=(Cache("vit_b16", "", 0, {"weight": ()}, best=True, searched=NUMBERS),),
)
