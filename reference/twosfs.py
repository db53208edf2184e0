"""2SFS, plainly: both towers with learned LayerNorms in all blocks; then a classifier on what they give."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call
from yacs.config import CfgNode

from reference import Reference
from trainers.settings import PHRASE
from trainers.shared.templates import fill as filled
from trainers.twosfs import TwoSFS as Trainer
from trainers.twosfs import TwoSFSModel

from .shared.clip import causal
from .shared.numbers import OPTIONS, Numbers
from .shared.plain import Learned, Plain, Weights, token_ids
from .shared.recipe import arrays_of, fill

TEXT, VISION = "transformer.resblocks", "visual.transformer.resblocks"


class PlainTwoSFS(Plain):
    """Learned are ``ln_1`` and ``ln_2`` of every block, and ``classifier`` ``[C, d]``, zero in the first stage."""

    def __init__(self, weights: Weights, names: list[str], tokens: Tensor):
        super().__init__(weights)
        self.names, self.tokens = names, tokens

    def run(self, learned: Learned, tower: str, blocks: Any, x: Tensor, *mask: Tensor) -> Tensor:
        """Run a tower's blocks with their learned LayerNorms, ``[B, N, d] -> [B, N, d]``."""
        for i, block in enumerate(blocks):
            path = f"{tower}.{i}."
            norms = {name.removeprefix(path): value for name, value in learned.items() if name.startswith(path)}
            x = functional_call(block, norms, (x, *mask))
        return x

    def image_features(self, learned: Learned, images: Tensor) -> Tensor:
        """f ``[B, d]``."""
        x = self.run(learned, VISION, self.clip.image_blocks, self.clip.embed_images(images))
        return F.normalize(self.clip.norm("visual.ln_post", x[:, 0]) @ self.clip.weights["visual.proj"], dim=-1)

    def text_features(self, learned: Learned) -> Tensor:
        """t ``[C, d]``."""
        x = self.clip.embed_text(self.tokens)
        x = self.run(learned, TEXT, self.clip.text_blocks, x, causal(x.shape[1], x))
        return self.clip.read_text(x, self.tokens.argmax(dim=-1))

    def class_features(self, learned: Learned) -> Tensor:
        """Rows of the classifier once it has been learned; of equal names the last."""
        if not learned["classifier"].any():
            return self.text_features(learned)
        last = {name: row for row, name in enumerate(self.names)}
        return F.normalize(learned["classifier"][[last[name] for name in self.names]], dim=-1)

    def logits(self, learned: Learned, images: Tensor) -> Tensor:
        """Scores of a training step ``[B, C]``."""
        if not learned["classifier"].any():
            return self.scale * self.image_features(learned, images) @ self.text_features(learned).t()
        f = self.image_features(learned, images).detach()
        return self.scale * f @ F.normalize(learned["classifier"], dim=-1).t()


def template_of(cfg: Any) -> str:
    """Return the template of the prompts."""
    return cfg.DATASET.TEMPLATE or f"{PHRASE} {{}}."


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainTwoSFS:
    """Build the equations."""
    return PlainTwoSFS(weights, names, token_ids(weights, template_of(cfg), names))


class Golden(Numbers):
    """The course of both stages, and the scores of new classes."""

    def literals(self, cfg: CfgNode) -> dict[str, Any]:
        """What is not a setting here."""
        modes = {"mode": "twostage", "peft": "ln", "ln_modality": "both", "ln_vision_start": 0, "ln_text_start": 0}
        return {**modes, "eta_min (literal)": Trainer.least_lr}

    def fill(self) -> None:
        """Leave everything: the LayerNorms are CLIP's, the classifier starts from text features."""

    def before(self) -> dict[str, Tensor]:
        """Zero-shot CLIP."""
        found = super().before()
        clip_image = self.model.image_features(self.images)
        return {"text_features_clip": found.pop("text_features"), "image_features_clip": clip_image, **found}

    def train(self) -> dict[str, np.ndarray]:
        """Both stages, each with an optimiser and a schedule of its own."""
        model, node = self.model, self.cfg.TRAINER.TWOSFS
        steps = node.N_ITERS * self.setting["config"]["shots"]
        first, self.rates = int(steps * node.N_ITERS_FRAC), list[float]()
        arrays, losses = self.stage(list(model.parameters()), first, self._gradients)
        model.begin_second()
        start = model.classifier.detach().clone()
        gradient, others = self.stage([model.classifier], steps - first, self._classifier_gradient)
        learned = {"classifier": model.classifier, **self.learned()}
        arrays |= gradient | arrays_of({f"final/{name}": value for name, value in learned.items()})
        numbers = {"loss0": losses[0], "losses": losses, "losses_stage2": others, "lr": self.rates}
        return arrays | {name: np.array(value) for name, value in numbers.items()} | {"classifier_init": start.numpy()}

    def stage(self, tensors: list[Tensor], steps: int, gradients: Any) -> tuple[dict[str, np.ndarray], list[float]]:
        """Take the steps of a stage on one batch. Return the first one's gradients, and the losses."""
        numbers = self.setting["optimizer"]
        optimizer = torch.optim.AdamW(tensors, **{key: numbers[key] for key in OPTIONS if key in numbers})
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, Trainer.least_lr)
        arrays, losses = dict[str, np.ndarray](), list[float]()
        for _ in range(steps):
            loss, _ = self.model.loss(self.images, self.labels)
            optimizer.zero_grad()
            loss.backward()
            arrays = arrays or gradients()
            losses.append(loss.item())
            self.rates.append(float(schedule.get_last_lr()[0]))
            optimizer.step()
            schedule.step()
        return arrays, losses

    def _classifier_gradient(self) -> dict[str, np.ndarray]:
        return {"grad_stage2/classifier": self.model.classifier.grad.numpy().copy()}

    def after(self) -> dict[str, Tensor]:
        """The scores of both class lists with what was learned."""
        model, setting = self.model, self.setting
        learned, side = model.state_dict(), setting["clip"]["res"]
        new = TwoSFSModel(
            model.clip_model, setting["new_classes"], filled(template_of(self.cfg), setting["new_classes"])
        )
        new.fit_to(learned, setting["classes"])
        new.load_state_dict(learned)
        images = fill("new_images", (len(setting["new_labels"]), 3, side, side), 1.0)
        found = {"eval_logits_new": new.scores(images, new.class_features())}
        return super().after() | found | {"image_features": model.image_features(self.images)}


TwoSFS = Reference(
    plain,
    toy={"TRAINER.TWOSFS.N_ITERS": 0, "TRAINER.TWOSFS.N_ITERS_FRAC": 0.4},  # an epoch begins in the second stage
    beside=frozenset({"classifier"}),
    numbers=Golden,
    lacks={
        "checkpoints": "its public code keeps none in this mode",
        "commands": "its public code has a command line of another form",
        "draws": "nothing that it learns is drawn, and where its public code sets the seed is not known",
    },
)
