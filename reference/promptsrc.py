"""PromptSRC, plainly: two CLIPs, every token of every layer; the text teacher's features are given, as by the authors'
code, which computes them once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clip.model import build_model
from reference import Reference
from trainers.promptsrc import PromptSRC as Trainer
from trainers.promptsrc import epoch_weights
from trainers.shared.cosine import cosine_logits, l2_normalize
from trainers.shared.deep_prompts import ImageStart

from . import maple
from .shared.clip import PlainCLIP, causal
from .shared.numbers import WithImages
from .shared.official import BASE, TEXT, VISION, Command, Official, Shapes, around, whole_clip
from .shared.plain import Learned, Weights, token_ids


class PlainPromptSRC(maple.PlainDeepPrompts):
    """Loss and scores from the learned tensors by name; ``teacher`` ``[C, d]`` is what ``teacher_of`` gives."""

    def __init__(
        self,
        weights: Weights,
        tokens: Tensor,
        teacher: Tensor,
        text_weight: float = 25,
        image_weight: float = 10,
    ):
        super().__init__(weights, tokens)
        self.zero_shot = PlainCLIP(weights)
        self.teacher, self.text_weight, self.image_weight = teacher, text_weight, image_weight

    def class_features(self, learned: Learned) -> Tensor:
        return self.text([learned["prompt_learner.ctx"], *self._deep(learned, "text_encoder")])

    def image_features(self, learned: Learned, images: Tensor) -> Tensor:
        return self.image(images, [learned["image_encoder.VPT"], *self._deep(learned, "image_encoder")])

    def loss(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """CE + 25 mean|g~ - g| + 10 mean|f~ - f| + KL(t || s) / (B C)."""
        with torch.no_grad():
            f_0, w_0 = self.zero_shot.image_feature(images), F.normalize(self.teacher, dim=-1)
        f, w = self.image_features(learned, images), self.class_features(learned)
        s, t = self.scale * f @ w.t(), self.scale * f_0 @ w_0.t()
        kl = (t.softmax(-1) * (t.log_softmax(-1) - s.log_softmax(-1))).sum() / s.numel()
        text, image = (w - w_0).abs().mean(), (f - f_0).abs().mean()
        return F.cross_entropy(s, labels) + self.text_weight * text + self.image_weight * image + kl

    def _deep(self, learned: Learned, tower: str) -> list[Tensor]:
        name = tower + ".transformer.resblocks.{}.VPT_shallow"
        count = sum(key.startswith(f"{tower}.transformer") for key in learned)
        return [learned[name.format(i)] for i in range(1, 1 + count)]


def teacher_of(weights: Weights, templates: list[Tensor]) -> Tensor:
    """The mean of frozen CLIP's text features, none normalised, over templates of tokens ``[C, 77]``; ``[C, d]``."""
    clip, total = PlainCLIP(weights), torch.zeros(())
    for tokens in templates:
        x = clip.embed_text(tokens)
        for block in clip.text_blocks:
            x = block(x, causal(x.shape[1], x))
        last = clip.norm("ln_final", x[torch.arange(len(x)), tokens.argmax(dim=-1)])
        total = total + last @ weights["text_projection"]
    return total / len(templates)


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainPromptSRC:
    """Build the equations.

    The teacher's features are the trainer's: sixty templates for each class take minutes here. A test compares them.
    """
    node, like = cfg.TRAINER.PROMPTSRC, weights["text_projection"]
    clip_model = build_model(weights, like.dtype).to(like)
    teacher = Trainer.build_method(cfg, clip_model, names).teacher().to(like)
    tokens = token_ids(weights, maple.prompt_of(node.CTX_INIT, node.N_CTX_TEXT), names)
    return PlainPromptSRC(weights, tokens, teacher, node.TEXT_LOSS_WEIGHT, node.IMAGE_LOSS_WEIGHT)


def draw(pick: Any, vision: int, text: int) -> dict[str, Any]:
    """Choose the number of tokens and the depth in either tower, and the losses' weights."""
    return {
        "TRAINER.PROMPTSRC.N_CTX_VISION": pick([1, 3]),
        "TRAINER.PROMPTSRC.N_CTX_TEXT": pick(range(1, 6)),
        "TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION": pick(range(1, vision + 1)),
        "TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT": pick(range(1, text + 1)),
        "TRAINER.PROMPTSRC.TEXT_LOSS_WEIGHT": 20.0,
        "TRAINER.PROMPTSRC.IMAGE_LOSS_WEIGHT": 7.0,
    }


class Golden(WithImages):
    """Features, those of frozen CLIP and of the teacher, the loss's terms, and the average, each step an epoch."""

    def before(self) -> dict[str, Tensor]:
        model = self.model
        terms, _ = model.terms(self.images, self.labels)
        f_0, w_0 = ImageStart(model.clip_model.visual, self.images).frozen_feature(), l2_normalize(model.teacher())
        found = {f"loss/{name}": value for name, value in terms.items()}
        found |= {"text_features_clip": w_0, "image_features_clip": f_0, "fixed_embeddings": model.teacher()}
        return super().before() | found | {"logits_clip": cosine_logits(model.clip_model, f_0, w_0)}

    def train(self) -> dict[str, np.ndarray]:
        """All methods' arrays, and the weights of the average."""
        node = self.cfg.TRAINER.PROMPTSRC
        weights = epoch_weights(self.setting["steps"], node.GPA_MEAN, node.GPA_STD)
        self.average = {name: torch.zeros_like(value) for name, value in self.model.state_dict().items()}
        self.weights = iter(weights)
        return super().train() | {"gpa_weights": np.array(weights)}

    def after_step(self) -> None:
        """Add to the average."""
        weight = next(self.weights)
        for name, value in self.model.state_dict().items():
            self.average[name] += weight * value

    def after(self) -> dict[str, Tensor]:
        """Scores of the last model, and of the average, which the model then is."""
        found = super().after()
        self.model.load_state_dict(self.average)
        found |= {f"gpa/{name}": value for name, value in self.average.items()}
        return found | {"eval_logits_gpa": super().after()["eval_logits"]}


def _deep(name: str, width: int) -> Shapes:
    return {f"{name}.transformer.resblocks.{i}.VPT_shallow": (4, width) for i in range(1, 9)}


def _frozen() -> dict[str, Tensor]:
    clip = whole_clip()
    return clip | {f"prompt_learner.ZS_{name}": value for name, value in clip.items() if name.startswith("image_enc")}


LEARNED: Shapes = {
    "prompt_learner.ctx": (4, TEXT),
    "image_encoder.VPT": (4, VISION),
    **_deep("image_encoder", VISION),
    **_deep("text_encoder", TEXT),
}
STEM = "vit_b16_c2_ep20_batch4_4+4ctx"
FEW_SHOT = "vit_b16_c2_ep50_batch4_4+4ctx_few_shot"

PromptSRC = Reference(
    plain,
    draw=draw,
    smaller={"trainers.promptsrc.TEACHER_TEMPLATES": 3},
    toy={
        "TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION": 3,
        "TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT": 2,
        "TRAINER.PROMPTSRC.GPA_MEAN": 2.0,
    },
    ready=lambda model: model.teacher(),  # neither side's step computes it, as in the official code
    numbers=Golden,
    bounds=maple.BOUNDS,
    checkpoints=(Official(STEM, "VLPromptLearner", 20, LEARNED, around(4, "prompt_learner."), _frozen),),
    commands=(
        Command(STEM, BASE, ("PROMPTSRC.GPA_MEAN", 15.0)),
        Command(FEW_SHOT, "DATASET.NUM_SHOTS 4", ("PROMPTSRC.GPA_STD", 30.0)),
    ),
    never_drawn=r"prompt_learner\.ctx",
    clips_built=3,
    words="TRAINER.PROMPTSRC.CTX_INIT",
    idle=("TRAINER.PROMPTSRC.N_CTX_TEXT", 5, maple.IDLE.format("PROMPTSRC", "N_CTX_TEXT")),
)
