"""MetaPrompt, plainly: two CLIPs, every token of every layer, 77 positions for every class; SGD written out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reference import Reference
from trainers import metaprompt
from trainers.metaprompt import across_classes, halves_of

from . import maple
from .shared import official
from .shared.clip import PlainCLIP
from .shared.numbers import Numbers
from .shared.plain import Learned, Weights, token_ids
from .shared.recipe import arrays_of

TEXT, VISION = "prompt_learner.ctx", "vision_prompt_learner.ctx"
RATE = 0.0015


class PlainMetaPrompt(maple.PlainDeepPrompts):
    """Losses, scores and steps; ``zero_shot_tokens`` are ``[C, 77]`` for each template of the frozen class features."""

    def __init__(self, weights: Weights, tokens: Tensor, zero_shot_tokens: list[Tensor]):
        super().__init__(weights, tokens)
        self.zero_shot = PlainCLIP(weights)
        with torch.no_grad():
            each = [self.zero_shot.text_feature(tokens) for tokens in zero_shot_tokens]
            mean = torch.stack(each).mean(dim=0)
            self.w_0 = F.normalize(mean, dim=-1)

    def class_features(self, learned: Learned) -> Tensor:
        return self.text(learned[TEXT].unbind())

    def both(self, learned: Learned, images: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        """logits_i and logits_t; ``w`` ``[C, d]`` are the prompted class features."""
        with torch.no_grad():
            f_0 = self.zero_shot.image_feature(images)
        f = self.image(images, learned[VISION].unbind())
        return self.scale * f @ self.w_0.t(), self.scale * f_0 @ w.t()

    def scores(self, learned: Learned, images: Tensor, class_features: Tensor, seen: bool = True) -> Tensor:
        i, t = self.both(learned, images, class_features)
        return (i + t) / 2

    def loss(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """The first part's three cross-entropies."""
        i, t = self.both(learned, images, self.class_features(learned))
        return torch.stack([F.cross_entropy(logits, labels) for logits in (i, t, (i + t) / 2)]).sum()

    def class_loss(self, ctx: Tensor, images: Tensor, labels: Tensor, classes: Sequence[int]) -> Tensor:
        """CE of logits_t of the images of these classes against these classes."""
        chosen = torch.isin(labels, torch.tensor(classes, device=labels.device))
        with torch.no_grad():
            f_0 = self.zero_shot.image_feature(images[chosen])
        logits = self.scale * f_0 @ self.text(ctx.unbind(), classes).t()
        targets = torch.tensor([list(classes).index(label) for label in labels[chosen].tolist()], device=labels.device)
        return F.cross_entropy(logits, targets)

    def halves(self, labels: Tensor, order: Sequence[int]) -> list[tuple[list[int], list[int]]]:
        """(this half, the other), where none is skipped."""
        middle = -(-len(order) // 2)
        a, b = list(order[:middle]), list(order[middle:])
        present = set(labels.tolist())
        return [
            (own, other)
            for own, other in ((a, b), (b, a))
            if len(own) >= 2 and present & set(own) and present & set(other)
        ]

    def step(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """The first part's loss, and per half of the classes that at tokens gone one step on the other half."""
        total = self.loss(learned, images, labels)
        for own, other in self.halves(labels, _order(len(self.tokens))):
            moved = _moved(self.class_loss(learned[TEXT], images, labels, other), learned[TEXT])
            total = total + self.class_loss(moved, images, labels, own)
        return total

    def train_step(
        self,
        learned: Learned,
        buffers: Learned,
        images: Tensor,
        labels: Tensor,
        order: Sequence[int],
        rate: float,
        restore_each: bool,
    ) -> None:
        """A whole training step in place, with SGD of momentum 0.9 and weight decay 0.01, META_STEP 0.2."""
        self._descend(learned, buffers, self.loss(learned, images, labels), rate)
        before, total = learned[TEXT].detach().clone(), torch.zeros_like(learned[TEXT])
        for turn, (own, other) in enumerate(self.halves(labels, order)):
            theta = {TEXT: learned[TEXT]}
            self._descend(theta, buffers, self.class_loss(theta[TEXT], images, labels, other), rate)
            outer = self.class_loss(learned[TEXT], images, labels, own)
            total = total + torch.autograd.grad(outer, learned[TEXT])[0]
            if turn == 0 or restore_each:
                learned[TEXT].data = before.clone()
        learned[TEXT].data -= 0.2 * rate * total

    def _descend(self, learned: Learned, buffers: Learned, loss: Tensor, rate: float) -> None:
        gradients = torch.autograd.grad(loss, list(learned.values()))
        for (name, value), gradient in zip(learned.items(), gradients, strict=True):
            gradient = gradient + 0.01 * value.detach()
            buffers[name] = 0.9 * buffers[name] + gradient if name in buffers else gradient
            value.data -= rate * buffers[name]


def _order(classes: int) -> list[int]:
    """Even numbers first, so that a random batch mostly has images of both halves."""
    return [*range(0, classes, 2), *range(1, classes, 2)]


def _moved(inner: Tensor, theta: Tensor) -> Tensor:
    """One gradient step, through which gradients pass unchanged."""
    (gradient,) = torch.autograd.grad(inner, theta)
    return theta - RATE * gradient


def step(model: Any, images: Tensor, labels: Tensor) -> Tensor:
    """Return all that a training step computes as one loss, whose gradient is that of both parts."""
    total, known = model.loss(images, labels)[0], labels.tolist()
    f_0 = model.frozen_features
    for own, other in halves_of(_order(len(model.text_features_clip))):
        mine, theirs = ([i for i, label in enumerate(known) if label in half] for half in (own, other))
        if mine and theirs:
            inner = model.class_loss(f_0[theirs], [known[i] for i in theirs], other)
            total = total + model.class_loss(f_0[mine], [known[i] for i in mine], own, _moved(inner, model.theta))
    return total


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainMetaPrompt:
    """Build the equations; class names stay raw in the frozen prompts."""
    templates = metaprompt.Meta_B2N.templates(cfg)
    tokens = token_ids(weights, f"{' '.join(['X'] * cfg.TRAINER.META.N_CTX)} {{}}.", names)
    return PlainMetaPrompt(weights, tokens, [token_ids(weights, one, names, spoken=False) for one in templates])


def draw(pick: Any, vision: int, text: int) -> dict[str, Any]:
    """Choose the number of tokens of either tower, and the depth."""
    return {
        "TRAINER.META.N_CTX": pick(range(1, 6)),
        "TRAINER.META.N_PRO": pick(range(1, 4)),
        "TRAINER.META.LAYERS": pick(range(1, min(vision, text) + 1)),
    }


class Golden(Numbers):
    """Features, terms, gradients of the first part, and both ways to train on one batch with scores after it."""

    def before(self) -> dict[str, Tensor]:
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
        self.model = self.plugged = copy.deepcopy(official)
        mended = self._steps(restore_each=True)
        self.model = self.plugged = official
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


LEARNED = {TEXT: (official.LAYERS, 2, official.TEXT), VISION: (official.LAYERS, 2, official.VISION)}


def _frozen() -> dict[str, Tensor]:
    clip = official.clip_weights()
    return official.whole_clip() | {f"text_encoder.clip_model.{name}": value for name, value in clip.items()}


Meta_B2N = Reference(
    plain,
    draw=draw,
    toy={"TRAINER.META.LAYERS": 3},
    step=step,
    numbers=Golden,
    bounds={"eval_logits": 5e-4},
    checkpoints=(official.Official("vit_b16", "model", 8, LEARNED, frozen=_frozen),),
    commands=(official.Command("vit_b16", official.BASE, ("META.META_STEP", 0.2)),),
)
