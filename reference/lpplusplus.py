"""LP++, plainly: z_c = W_c f + b_c + alpha_c f t_c."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from yacs.config import CfgNode

from reference import Reference
from trainers import lpplusplus
from trainers.shared.features import Features
from trainers.shared.templates import ensemble_of

from .shared.numbers import Numbers
from .shared.plain import Learned, PlainFrozenText, Weights, token_ids
from .shared.recipe import arrays_of, fill


class PlainLPpp(PlainFrozenText):
    """A linear classifier of image features beside weighted text scores."""

    def scores(self, learned: Learned, images: Tensor, class_features: Tensor, seen: bool = True) -> Tensor:
        """z ``[B, C]``."""
        f = self.image_features(learned, images)
        linear = f @ learned["classifier.weight"].t() + learned["classifier.bias"]
        return linear + learned["alpha_vec"] * (f @ class_features.t())


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainLPpp:
    """Build the equations."""
    return PlainLPpp(weights, [token_ids(weights, template, names) for template in ensemble_of(cfg)])


class Golden(Numbers):
    """Features, rates, and the course of the steps, each on all training images."""

    def literals(self, cfg: CfgNode) -> dict[str, Any]:
        """What the release has in its code."""
        return {
            "alpha_update_every (literal)": lpplusplus.ALPHA_EVERY,
            "momentum (literal)": lpplusplus.MOMENTUM,
            "alpha_init_factor (literal)": lpplusplus.ALPHA_FACTOR,
        }

    def fill(self) -> None:
        """Draw the bias by the recipe; W and alpha start from the training features."""
        super().fill()
        side = self.setting["clip"]["res"]
        self.train_images = fill("train_images", (len(self.setting["train_labels"]), 3, side, side), 1.0)
        self.train_features = self._features(self.train_images, "train_labels")
        self.val, self.test = self._near("val", "val_labels"), self._near("test", "labels")
        self.model.start(self.train_features)

    def _near(self, part: str, labels: str) -> Features:
        sources = self.train_images[self.setting["images"][f"{part}_from"]]
        return self._features(0.5 * sources + 0.8 * fill(f"{part}_images", tuple(sources.shape), 1.0), labels)

    def _features(self, images: Tensor, labels: str) -> Features:
        return Features(self.model.image_features(images), torch.tensor(self.setting[labels]))

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        model = self.model
        rates = lpplusplus.learning_rates(self.train_features, model.text)
        return {
            "text_weights": model.text.t(),
            "train_features": self.train_features.values,
            "val_features": self.val.values,
            "image_features": self.test.values,
            **dict(zip(("lr_w", "lr_alpha"), torch.tensor(rates, dtype=torch.float64), strict=True)),
            "alpha_init": model.alpha_vec[0, 0],
            "classifier_init": model.classifier.weight,
            "logits": self._logits(),
            "logits_zs": self.test.values @ model.text.t(),
        }

    def _logits(self) -> Tensor:
        return self.model.class_features()(self.test.values)

    def plain_loss(self, plain: Any, learned: Learned) -> Tensor:
        """Return the first step's loss by the method's equations."""
        return plain.loss(learned, self.train_images, self.train_features.labels)

    def train(self) -> dict[str, np.ndarray]:
        """The course of a run, with the test images' scores after the step that is best on the validation images."""
        model, arrays = self.model, dict[str, np.ndarray]()
        losses, accuracies = list[float](), list[float]()
        alphas, logits = [model.alpha_vec[0].detach().clone()], list[Tensor]()
        for loss in lpplusplus.steps(model, self.train_features, self.cfg.TRAINER.LPPP.TRAIN_EPOCH):
            if not losses:
                arrays |= {"loss0": loss.numpy(), **self._gradients()}
            losses.append(loss.item())
            alphas.append(model.alpha_vec[0].detach().clone())
            accuracies.append(lpplusplus.accuracy_of(model, self.val))
            logits.append(self._logits().detach())
        best = max(range(len(losses)), key=lambda i: (accuracies[i], i))
        right = (logits[best].argmax(dim=1) == self.test.labels).double().mean()
        arrays |= arrays_of({f"final/{name}": value for name, value in self.learned().items()})
        return arrays | {
            "losses": np.array(losses),
            "alpha": torch.stack(alphas).numpy(),
            "val_acc": np.array(accuracies),
            "best_epoch": np.array(best),
            "eval_logits_best": logits[best].numpy(),
            "acc_test": 100 * right.numpy(),
        }

    def after(self) -> dict[str, Tensor]:
        """The scores after the last step."""
        return {"eval_logits": self._logits()}


LinearProbe_P2 = Reference(
    plain,
    toy={"TRAINER.LPPP.TRAIN_EPOCH": 20},
    learns=False,
    numbers=Golden,
    lacks={
        "checkpoints": "its public code keeps none",
        "commands": "its public code has a command line of another form",
        "draws": "its public code augments its images before it draws the bias",
    },
)
