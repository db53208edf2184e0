"""CLAP and ZS-LP, plainly: class weights w from the text features t, and CE + mean of alpha_c |w_c - t_c|^2."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dassl.optim import build_lr_scheduler
from reference import Reference
from trainers.clap import FirstBatches
from trainers.shared.class_rows import mean_text_features, raw_templates
from trainers.shared.features import Features
from trainers.shared.templates import IMAGENET_ENSEMBLE

from .shared.numbers import Numbers
from .shared.official import JOINT, Command, Official
from .shared.plain import Learned, Plain, Weights, mean_raw_text
from .shared.recipe import fill


class PlainAdapter(Plain):
    """The learned ``prototypes`` w are ``[C, d]``; t is computed once, alpha ``[C]`` is given."""

    def __init__(self, weights: Weights, names: list[str], templates: list[str], held: bool):
        super().__init__(weights)
        self.t, self.held = mean_raw_text(self.clip, weights, names, templates), held
        self.alpha = given_alpha(self.t)

    def class_features(self, learned: Learned) -> Tensor:
        """``[C, d]``, of unit length."""
        return F.normalize(learned["prototypes"], dim=-1)

    def loss(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy, for CLAP with the penalty."""
        entropy = super().loss(learned, images, labels)
        if not self.held:
            return entropy
        classes = range(len(self.t))
        terms = [self.alpha[c] * ((learned["prototypes"][c] - self.t[c]) ** 2).sum() for c in classes]
        return entropy + sum(terms) / len(self.t)

    def measured_alpha(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return alpha ``[C]`` of training images: the mean probability of each class over its own."""
        p = self.scores({}, images, F.normalize(self.t, dim=-1)).softmax(dim=-1)
        return torch.stack([p[labels == c, c].mean() for c in range(len(self.t))])


def given_alpha(t: Tensor) -> Tensor:
    """Return the alpha ``[C]`` of the comparison in float64."""
    return torch.linspace(0.2, 0.9, len(t)).to(t)


def ready(model: Any) -> None:
    """Set alpha, which a run measures on its training images."""
    model.alpha = given_alpha(model.own)


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainAdapter:
    """Build the equations."""
    return PlainAdapter(weights, names, raw_templates(cfg), cfg.TRAINER.ADAPTER.CONSTRAINT == "l2")


class Golden(Numbers):
    """The steps are on stored features of all passes over the training images; ``logits`` are of test images."""

    def fill(self) -> None:
        """Start away from t, and store the features of the setting's passes."""
        super().fill()
        model, setting = self.model, self.setting
        model.prototypes.data += model.own
        self.tested, self.tested_labels = self.images, self.labels
        passes, side = self.cfg.TRAINER.ADAPTER.EPOCHS_AUGMENTATION, setting["clip"]["res"]
        shape = (len(setting["train_labels"]), 3, side, side)
        self.images = torch.cat([fill(f"train_images/{number}", shape, 1.0) for number in range(passes)])
        self.labels = torch.tensor(setting["train_labels"] * passes)
        with torch.no_grad():
            self.stored = Features(model.clip_model.encode_image(self.images), self.labels)
        model.measure_alpha(self.stored)

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        model, names = self.model, self.setting["classes"]
        zero_shot = F.normalize(model.own, dim=-1)
        scores = model.scores(self.stored.values, model.class_features())
        return {
            "base_text_features": model.own,
            "base_text_features_imagenet": mean_text_features(
                model.clip_model, names, [*IMAGENET_ENSEMBLE, "a photo of a {}."]
            ),
            "image_features": model.clip_model.encode_image(self.tested),
            "logits_zs_test": model.scores(self.tested, zero_shot),
            "train_features": self.stored.values,
            "train_features_labels": self.labels,
            "train_logits_zs": model.scores(self.stored.values, zero_shot),
            "alpha_constraint": model.alpha,
            "logits": model.scores(self.tested, model.class_features()),
            "loss/ce": F.cross_entropy(scores, self.labels),
            "loss/constraint": model.penalty(),
        }

    def train(self) -> dict[str, np.ndarray]:
        """The usual steps, all on the stored features."""
        self.images = self.stored.values
        return super().train()

    def after(self) -> dict[str, Tensor]:
        """What the model gives after those steps, and the course of a run from t."""
        scores = {"eval_logits": self.model.scores(self.tested, self.model.class_features())}
        with torch.enable_grad():
            return scores | {f"run_{name}": value for name, value in self.run().items()}

    def run(self) -> dict[str, Tensor]:
        """Train as a run does, with the trainer's order of the stored features and Dassl's schedule."""
        model, numbers = self.model, self.setting["run"]
        model.prototypes.data = model.own.clone()
        optimizer = self.optimizer()
        optim = self.cfg.OPTIM.clone()
        optim.defrost()
        optim.MAX_EPOCH, optim.WARMUP_EPOCH, optim.LR_SCHEDULER = (
            numbers["max_epoch"],
            numbers["warmup_epoch"],
            "cosine",
        )
        optim.WARMUP_TYPE, optim.WARMUP_CONS_LR = "constant", numbers["warmup_lr"]
        schedule = build_lr_scheduler(optimizer, optim)
        size = numbers["batch_size"]
        np.random.seed(numbers["numpy_seed"])
        order = FirstBatches(len(self.labels), size, len(self.setting["train_labels"]) // size)
        found: dict[str, list[Any]] = {"idx": [], "lr": [], "losses": [], "acc_test": []}
        for _ in range(numbers["max_epoch"]):
            for rows in order:
                loss, _ = model.loss(self.stored.values[rows], self.labels[rows])
                optimizer.zero_grad()
                loss.backward()
                found["lr"].append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                scores = model.scores(self.tested, model.class_features()).detach()
                found["idx"].append(rows)
                found["losses"].append(loss.item())
                found["acc_test"].append(100 * (scores.argmax(dim=1) == self.tested_labels).float().mean().item())
            schedule.step()
        arrays = {name: torch.tensor(value) for name, value in found.items()}
        return arrays | {"final/adapter.prototypes": model.prototypes.clone(), "eval_logits": scores}

    def plain_loss(self, plain: Any, learned: Learned) -> Tensor:
        """Return the first step's loss by the method's equations, which measure alpha on their own."""
        plain.alpha = plain.measured_alpha(self.images, self.labels)
        return plain.loss(learned, self.images, self.labels)


STEM = "SGD_lr1e-1_B256_ep300"
COMMAND = "DATASET.NUM_SHOTS 16 TRAINER.ADAPTER.INIT ZS TRAINER.ADAPTER.CONSTRAINT"

ADAPTER = Reference(
    plain,
    draw=lambda pick, vision, text: {"TRAINER.ADAPTER.CONSTRAINT": pick(["l2", "none"])},
    toy={"TRAINER.ADAPTER.EPOCHS_AUGMENTATION": 2},
    ready=ready,
    numbers=Golden,
    never_drawn="prototypes$",
    checkpoints=(
        Official(
            STEM,
            "adapter",
            300,
            {"prototypes": (5, JOINT)},
            beside={"base_text_features": (5, JOINT), "logit_scale": ()},
            dtype=torch.float32,
        ),
    ),
    commands=(
        Command(STEM, f"{COMMAND} l2", ("ADAPTER.CONSTRAINT", "l2")),
        Command(STEM, f"{COMMAND} none", ("ADAPTER.CONSTRAINT", "none")),
    ),
)
