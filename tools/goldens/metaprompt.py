"""MetaPrompt's golden numbers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tools.goldens.numbers import Numbers
from tools.goldens.recipe import arrays_of
from trainers.metaprompt import across_classes


class Meta_B2N(Numbers):  # noqa: N801 (the official name)
    """Features, terms, gradients of the first part, and both ways to train on one batch with scores after it."""

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        model = self.model
        terms, logits = model.terms(self.images, self.labels)
        (f, f_0), (w, w_0) = model.image_features(self.images), model.class_features()
        logits_i, logits_t = model.logits_of(f, f_0, w, w_0)
        found = {f"loss/{name}": value for name, value in terms.items()}
        found |= {"logits": logits, "logits_i": logits_i, "logits_t": logits_t}
        return found | {
            "image_features": f,
            "image_features_clip": f_0,
            "text_features": w,
            "text_features_clip": w_0,
        }

    def train(self) -> dict[str, np.ndarray]:
        """The main arrays are those of the official restore bug, which is the run's default; copies are without it."""
        loss, _ = self.model.loss(self.images, self.labels)
        loss.backward()
        arrays = {"loss0": np.array(loss.item()), **self._gradients()}
        official = self.model
        self.model = copy.deepcopy(official)
        mended = self._steps(restore_each=True)
        self.model = official
        arrays |= {f"copy_restore/{name}": value for name, value in mended.items() if name != "losses"}
        return arrays | {"losses_copy": mended["losses"]} | self._steps(restore_each=False)

    def _steps(self, restore_each: bool) -> dict[str, np.ndarray]:
        model, optimizer = self.model, self.optimizer()
        rate = self.setting["optimizer"]["lr"] * self.cfg.TRAINER.META.META_STEP

        def update(loss: Tensor) -> None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        def gradient(loss: Tensor) -> Tensor:
            return torch.autograd.grad(loss, model.theta)[0]

        arrays: dict[str, Any] = {}
        losses, pairs = [], np.zeros((self.setting["steps"], 2, 2))  # 0 where a half is skipped
        for step, order in enumerate(self.setting["class_orders"]):
            loss, _ = model.loss(self.images, self.labels)
            losses.append(loss.item())
            update(loss)
            found = across_classes(model, self.setting["labels"], order, update, gradient, rate, restore_each)
            for half, pair in enumerate(found):
                pairs[step, half] = [value.item() for value in pair]
            if step == 0:
                arrays = {f"iter1/{name}": value for name, value in arrays_of(self.learned()).items()}
        arrays |= {f"final/{name}": value for name, value in arrays_of(self.learned()).items()}
        arrays |= {"losses": np.array(losses), "losses_inner": pairs[..., 0], "losses_outer": pairs[..., 1]}
        with torch.no_grad():
            return arrays | arrays_of(self.after())
