"""MMA++, plainly: MMA's reference without rescaled gradients, with its texts, its second branch and its dropout."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from common.files import write_json
from reference import Reference
from trainers.mmapp import tokens_of
from trainers.settings import MMAppSettings
from trainers.shared.cosine import clip_image_features

from . import mma
from .shared.numbers import Numbers
from .shared.official import BASE, Command, Official
from .shared.plain import Learned, Weights
from .shared.recipe import fill

SHARE = 0.375  # u of the compared step


class PlainMMApp(mma.PlainMMA):
    """Loss and scores from the learned tensors by name, over token ids ``[C, n, 77]``.

    Attributes ``which`` ``[C]`` and ``share`` are the step's texts and its u.
    """

    def __init__(self, weights: Weights, tokens: Tensor, settings: MMAppSettings):
        super().__init__(weights, tokens, settings.adapter_start, settings.adapter_end, settings.adapter_train_scale)
        self.settings, self.which, self.share = settings, texts_of_step(tokens), SHARE

    def path(self, learned: Learned, tower: str, layer: int, block: Any, x: Tensor, *how: float) -> Tensor:
        """s Up(Dropout(ReLU(Shared(ReLU(Down(LN1(x))))))); ``how``: s, and the share of dropout."""
        scale, drop = how
        own, hidden = f"{tower}_adapter.{layer}", block.ln_1(x)
        for name in (f"{own}.down.0", f"shared_adapter.{layer}.0"):
            hidden = F.relu(F.linear(hidden, learned[f"{name}.weight"], learned[f"{name}.bias"]))
        hidden = F.dropout(hidden, drop)
        return scale * F.linear(hidden, learned[f"{own}.up.weight"], learned[f"{own}.up.bias"])

    def class_features(self, learned: Learned) -> Tensor:
        """Unit features of all texts, their mean over n, of unit length."""
        each = [self.text(learned, self.tokens[:, i], self.settings.adapter_test_scale, 0.0) for i in self.texts()]
        return F.normalize(torch.stack(each).mean(dim=0), dim=-1)

    def texts(self) -> range:
        """The n texts of a class."""
        return range(self.tokens.shape[1])

    def scores(self, learned: Learned, images: Tensor, class_features: Tensor, seen: bool = True) -> Tensor:
        f = self.image_features(learned, images, self.settings.adapter_test_scale, 0.0)
        return self.scale * f @ class_features.t()

    def branch(self, learned: Learned, images: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """w ``[C, d]`` and f ``[B, d]`` of the step's texts and images."""
        how, own = (scale, self.settings.adapter_drop), torch.arange(len(self.tokens))
        return self.text(learned, self.tokens[own, self.which], *how), self.image_features(learned, images, *how)

    def training_scores(self, learned: Learned, images: Tensor, labels: Tensor, scores: Tensor) -> Tensor:
        w, f = self.branch(learned, images, self.s)
        return self.scale * f @ w.t()

    def loss(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """CE - rho mean cos(w, w') - rho mean cos(f, f')."""
        w, f = self.branch(learned, images, self.s)
        with torch.no_grad():
            w_reg, f_reg = self.branch(learned, images, self.share * self.s)
        alike = F.cosine_similarity(w, w_reg).mean() + F.cosine_similarity(f, f_reg).mean()
        return F.cross_entropy(self.scale * f @ w.t(), labels) - self.settings.adapter_train_scale_reg * alike


def texts_of_step(tokens: Tensor) -> Tensor:
    """Return the compared step's text of each class, ``[C]``: another for each, as far as there are."""
    return (1 + torch.arange(len(tokens))) % tokens.shape[1]


def ready(model: Any) -> None:
    """Choose the step's texts and its u."""
    model.choose(texts_of_step(model.tokens), SHARE)


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainMMApp:
    """Build the equations."""
    settings = MMAppSettings.of(cfg.TRAINER.MMADAPTERPP)
    return PlainMMApp(weights, tokens_of(cfg, settings, names).to(weights["text_projection"].device), settings)


def draw(pick: Any, vision: int, text: int) -> dict[str, Any]:
    """Choose layers, width, both scales and rho; masks of dropout are compared with golden numbers."""
    return {
        **mma.draw_adapters(pick, vision, text, "MMADAPTERPP"),
        "TRAINER.MMADAPTERPP.ADAPTER_TRAIN_SCALE": pick([0.01, 1.0]),
        "TRAINER.MMADAPTERPP.ADAPTER_TEST_SCALE": pick([0.0065, 0.5]),
        "TRAINER.MMADAPTERPP.ADAPTER_TRAIN_SCALE_REG": pick([0.0, 2.5]),
        "TRAINER.MMADAPTERPP.ADAPTER_DROP": 0.0,
    }


class Golden(Numbers):
    """Features in tests and of both branches, each term of the loss, and the first step with given masks of dropout."""

    def __init__(self, setting: dict[str, Any], cfg: Any, build: Any):
        self.folder = TemporaryDirectory()  # as long as these numbers are there, so is the file of descriptions
        if "cupl" in setting:
            path = Path(self.folder.name, "texts.json")
            write_json(path, setting["cupl"])
            cfg.defrost()
            cfg.TRAINER.MMADAPTERPP.DESCRIPTIONS = str(path)
            cfg.freeze()
        super().__init__(setting, cfg, build)
        self.model.dropout = lambda hidden: hidden
        self.terms: list[Tensor] = []

    def before(self) -> dict[str, Tensor]:
        found = super().before() | {"image_features": self.model.image_features(self.images)}
        adapted, self.model.path = self.model.path, lambda *path, **how: torch.zeros(())
        found["text_features_clip"] = self.model.class_features()
        found["image_features_clip"] = clip_image_features(self.model.clip_model, self.images)
        self.model.path = adapted
        return found | self.first_step()

    def first_step(self) -> dict[str, Tensor]:
        """What the first step sees."""
        self.choose(0)
        step = self.model.step(self.images)
        found = {"logits_train": step.logits, "text_features_train": step.w, "image_features_train": step.f}
        found |= {"text_features_reg": step.w_reg, "image_features_reg": step.f_reg}
        terms = zip(("ce", "text", "image"), self.model.terms(step, self.labels), strict=True)
        return found | {f"loss/{name}": value for name, value in terms}

    def choose(self, step: int) -> None:
        """Take the texts and u that the setting has for a step."""
        self.model.choose(torch.tensor(self.setting["template_index"][step]), self.setting["reg_draw"][step])

    def before_step(self, step: int) -> None:
        self.choose(step)
        with torch.no_grad():
            self.terms.append(torch.stack(self.model.terms(self.model.step(self.images), self.labels)))

    def train(self) -> dict[str, np.ndarray]:
        return self.dropped() | super().train()

    def dropped(self) -> dict[str, np.ndarray]:
        """The first step, from the same start, with the setting's masks of dropout."""
        usual, calls = self.model.dropout, count()
        self.model.dropout = lambda hidden: self.masked(hidden, next(calls))
        with torch.no_grad():
            found = self.first_step()
        calls = count()
        loss, _ = self.model.loss(self.images, self.labels)
        loss.backward()
        found["loss0"] = loss
        grads: dict[str, Any] = {name: value.grad for name, value in self.learned().items()}
        found |= {f"gradnorm/{name}": grad.norm() for name, grad in grads.items()}
        self.model.dropout = usual
        return {f"drop/{name}": value.detach().numpy().copy() for name, value in found.items()}

    def masked(self, hidden: Tensor, call: int) -> Tensor:
        """Return what the mask of a call, ``[N, B, r]`` in the public code, leaves of ``hidden`` ``[B, N, r]``.

        Texts lie end to end here, without what follows EOT; in the last layer there is one token of each alone.
        """
        p, shape = self.setting["config"]["adapter_drop"], self.setting["dropout_calls"][call]
        keep = fill(f"dropout/{call}", shape, 1) / np.sqrt(12) + 0.5 >= p
        if shape[0] != 77:  # of images
            keep = keep.transpose(0, 1)[:, : hidden.shape[1]]
        else:
            prompts = self.model.chosen
            owners = torch.zeros(prompts.suffix_tokens, dtype=torch.long)
            for own, (start, eot) in enumerate(zip(prompts.starts, prompts.eot, strict=True)):
                owners[start : eot + 1] = own
            keep = keep[prompts.positions, owners]
            keep = keep if len(keep) == hidden.shape[1] else keep[prompts.eot]
        return hidden * keep / (1 - p)

    def plain_loss(self, plain: Any, learned: dict[str, Tensor]) -> Tensor:
        plain.which = torch.tensor(self.setting["template_index"][0])
        plain.share, plain.settings = self.setting["reg_draw"][0], without_dropout(self.cfg)
        return plain.loss(learned, self.images, self.labels)

    def after(self) -> dict[str, Tensor]:
        w = self.model.class_features()
        scores = {"eval_logits": self.model.scores(self.images, w), "eval_text_features": w}
        return scores | {"loss_terms": torch.stack(self.terms)}


def without_dropout(cfg: Any) -> MMAppSettings:
    """Return a run's settings but for its dropout."""
    return MMAppSettings.of({**cfg.TRAINER.MMADAPTERPP, "ADAPTER_DROP": 0.0})


MultiModalAdapterPP = Reference(
    plain,
    draw=draw,
    smaller={"trainers.mmapp.HC_TEMPLATES": 3},
    toy={
        "TRAINER.MMADAPTERPP.ADAPTER_START": 2,
        "TRAINER.MMADAPTERPP.ADAPTER_END": 3,
        "TRAINER.MMADAPTERPP.ADAPTER_DROP": 0.0,
    },
    ready=ready,
    numbers=Golden,
    checkpoints=(Official("b2n_hc", "adapter_learner", 50, mma.LEARNED, dtype=torch.float32),),
    commands=(Command("b2n_cupl", BASE, ("MMADAPTERPP.INPUT_PROMPTS", "cupl")),),
    idle=(
        *("TRAINER.MMADAPTERPP.TEXT_CTX_INIT", "a photo"),
        "TRAINER.MMADAPTERPP.TEXT_CTX_INIT 'a photo' has no effect: TRAINER.MMADAPTERPP.INPUT_PROMPTS says the texts",
    ),
)
