"""Golden numbers of Tip-Adapter and Tip-Adapter-F."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tools.goldens.numbers import Numbers
from tools.goldens.recipe import arrays_of, fill
from trainers.shared.cosine import l2_normalize
from trainers.shared.features import Features, features_of_batches
from trainers.tipadapter.cache import SCALE, accuracy_of, search
from trainers.tipadapter.method import ADAM_EPS


class TipAdapter(Numbers):
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
            "val_logits_zs": SCALE * val @ model.text.t(),
            "test_logits_zs": SCALE * test @ model.text.t(),
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


class TipAdapterF(TipAdapter):
    """The same, its search after training."""

    def keys(self) -> Tensor:
        """The cache's keys ``[d, N]``."""
        return self.model.weight.t()

    def train(self) -> dict[str, np.ndarray]:
        """The release's course: a cosine per step, the epoch that does best on the test images; leaves its weight."""
        model, test, batches = self.model, self.test, self.setting["f_batches"]
        parts = [self.near(f"f_images/{i}", batch["FROM"]) for i, batch in enumerate(batches)]
        numbers = self.setting["optimizer"]
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=numbers["lr"], eps=ADAM_EPS, weight_decay=numbers["weight_decay"]
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.setting["train_epoch"] * len(batches))
        arrays: dict[str, Any] = {f"train_features/{i}": model.image_features(part) for i, part in enumerate(parts)}
        arrays = arrays_of(arrays)
        losses: list[float] = []
        rates, epochs, accuracies, weights = [], [], [], []
        for _ in range(self.setting["train_epoch"]):
            for images, batch in zip(parts, batches, strict=True):
                loss, scores = model.loss(images, torch.tensor(batch["labels"]))
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
