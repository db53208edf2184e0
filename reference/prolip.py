"""ProLIP, plainly: z = 100 normalise(x W) T, cross-entropy + lambda |W - W_0|^2."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reference import Reference
from trainers import prolip
from trainers.shared.features import Features, template_features
from trainers.shared.templates import IMAGENET_ENSEMBLE, template_of

from .shared import official
from .shared.numbers import Numbers
from .shared.plain import Learned, PlainFrozenText, Weights, token_ids
from .shared.recipe import arrays_of, fill


class PlainProLIP(PlainFrozenText):
    """``templates`` holds the tokens ``[C, 77]`` of each template; the learned ``vit_proj`` W is ``[d_v, d]``.

    The text is encoded once, as in the authors' code, which also computes x only once.
    """

    def __init__(self, weights: Weights, templates: list[Tensor], penalty: float):
        super().__init__(weights, templates)
        self.penalty, self.start = penalty, weights["visual.proj"]

    def scores(self, learned: Learned, images: Tensor, class_features: Tensor, seen: bool = True) -> Tensor:
        """z ``[B, C]`` of images, or of x ``[B, d_v]``."""
        with torch.no_grad():
            x = images if images.dim() == 2 else self.clip.before_projection(images)
        return 100 * F.normalize(x @ learned["vit_proj"], dim=-1) @ class_features.t()

    def loss(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy and penalty."""
        return super().loss(learned, images, labels) + self.penalty * ((learned["vit_proj"] - self.start) ** 2).sum()


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainProLIP:
    """Build the equations."""
    node, shots = cfg.TRAINER.PROLIP, max(1, cfg.DATASET.NUM_SHOTS)
    seven = cfg.DATASET.NAME.startswith("ImageNet") and not cfg.DATASET.TEMPLATE
    tokens = [token_ids(weights, template, names) for template in (IMAGENET_ENSEMBLE if seven else [template_of(cfg)])]
    penalty = 1 / shots if node.LAMBDA_FUNCT_1_N else 1 / shots**2 if node.LAMBDA_FUNCT_1_N2 else node.LAMBDA_V
    return PlainProLIP(weights, tokens, penalty)


def draw(pick: Any, vision: int, text: int) -> dict[str, Any]:
    """Choose the rule of lambda, and its numbers."""
    rule = pick(["LAMBDA_FUNCT_1_N", "LAMBDA_FUNCT_1_N2", ""])
    rules = {f"TRAINER.PROLIP.{key}": key == rule for key in ("LAMBDA_FUNCT_1_N", "LAMBDA_FUNCT_1_N2")}
    return {**rules, "TRAINER.PROLIP.LAMBDA_V": pick([0.0, 0.3]), "DATASET.NUM_SHOTS": pick([-1, 1, 4])}


class Golden(Numbers):
    """Features and scores; steps on the first view; the course over all views; the search."""

    def fill(self) -> None:
        """Add the recipe's values to W, and encode the training images of each view."""
        super().fill()
        self.model.get_parameter("vit_proj").data.add_(self.model.start)
        side, count = self.setting["clip"]["res"], len(self.setting["train_labels"])
        passes = [
            fill(f"train_images/{view}", (count, 3, side, side), 1.0)
            for view in range(self.setting["config"]["aug_views"])
        ]
        self.near = 0.9 * passes[0][self.setting["images"]["val_from"]]
        self.near += 0.5 * fill("val_images", self.near.shape, 1.0)
        self.views = torch.stack([self.encode(images) for images in passes])
        self.train_labels = torch.tensor(self.setting["train_labels"])

    def encode(self, images: Tensor) -> Tensor:
        """x ``[B, d_v]``."""
        with torch.no_grad():
            return self.model.clip_model.visual.before_projection(images)

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        model, names = self.model, self.setting["classes"]
        found = {"logits": model.scores(self.images, model.text), "text_weights": model.text.t()}
        found["text_weights_imagenet"] = template_features(model.clip_model, names, IMAGENET_ENSEMBLE).t()
        found |= {"train_features": self.views, "image_features_before": self.encode(self.images)}
        found["loss/ce"] = F.cross_entropy(model.scores(self.views[0], model.text), self.train_labels)
        found["loss/fro"] = model.distance()
        other = prolip.ProLIPModel(model.clip_model, model.text, model.penalty)
        return found | {"logits_zs": other.scores(self.images, model.text)}

    def train(self) -> dict[str, np.ndarray]:
        """Every step takes the first view of all training images."""
        batch = self.images, self.labels
        self.images, self.labels = self.views[0], self.train_labels
        arrays = super().train()
        self.images, self.labels = batch
        return arrays | self.course() | self.grid()

    def plain_loss(self, plain: Any, learned: Learned) -> Tensor:
        """Return the first step's loss by the method's equations."""
        return plain.loss(learned, self.views[0], self.train_labels)

    def optim(self, steps: int) -> Any:
        """The setting's OPTIM node."""
        node, said = self.cfg.OPTIM.clone(), self.setting["optimizer"]
        node.defrost()
        node.merge_from_list(["NAME", said["name"].lower(), "LR", said["lr"], "WEIGHT_DECAY", said["weight_decay"]])
        node.merge_from_list(["LR_SCHEDULER", "cosine", "MAX_EPOCH", steps])
        return node

    def course(self) -> dict[str, np.ndarray]:
        """A run from W_0 over all views."""
        model, steps = self.kept(), self.setting["run"]["train_epoch"]
        rows = []
        for step, rate in enumerate(prolip.learn(model, self.views, self.train_labels, self.optim(steps))):
            x = self.views[(step + 1) % len(self.views)]
            loss, scores = model.loss(x, self.train_labels)
            rows.append((F.cross_entropy(scores, self.train_labels).item(), model.distance().item(), loss.item(), rate))
        scores = model.scores(self.images, model.text)
        accuracy = 100 * (scores.argmax(dim=1) == self.labels).float().mean()
        found = dict(zip(("run_ce", "run_fro", "run_losses", "run_lr"), np.array(rows).T, strict=True))
        return found | arrays_of(
            {"run_final/vit_proj": model.matrix, "run_eval_logits": scores, "run_acc_test": accuracy}
        )

    def grid(self) -> dict[str, np.ndarray]:
        """The search's accuracies."""
        val = Features(self.encode(self.near), torch.tensor(self.setting["val_labels"]))
        optim = self.optim(self.setting["search"]["train_epoch"])
        return arrays_of({"search_acc": prolip.search(self.kept(), self.views, self.train_labels, val, optim)[0]})

    def kept(self) -> prolip.ProLIPModel:
        """A model of its own, so that the steps' result stays."""
        return prolip.ProLIPModel(self.model.clip_model, self.model.text, self.model.penalty)


@dataclass(frozen=True)
class Small(official.Official):
    """The release's file: the state dict of the small module alone, for each seed."""

    def write(self, folder: Path, strangers: official.State | None = None) -> official.State:
        """Write the file. Return what our model must then hold."""
        torch.manual_seed(0)
        folder.mkdir(exist_ok=True)
        torch.save(learned := self.tensors(), folder / "digits_seed1.pth")
        return learned


ProLIP = Reference(
    plain,
    draw=draw,
    numbers=Golden,
    never_drawn="vit_proj$",
    checkpoints=(Small("vit_b16", "", 0, {"vit_proj": (official.VISION, official.JOINT)}, best=True),),
    lacks={
        "commands": "its public code has a command line of another form",
        "draws": "it learns from CLIP's own tensor; how its public code draws crops is not known",
    },
)
