"""MetaPrompt, plainly: two CLIPs, every token of every layer, 77 positions for every class; SGD written out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.plain_clip import PlainCLIP
from tests.reference.plain_maple import Learned, PlainDeepPrompts

TEXT, VISION = "prompt_learner.ctx", "vision_prompt_learner.ctx"


class PlainMetaPrompt(PlainDeepPrompts):
    """Losses, scores and steps; ``zero_shot_tokens`` are ``[C, 77]`` for each template of the frozen class features."""

    def __init__(self, weights: dict[str, Tensor], tokens: Tensor, zero_shot_tokens: list[Tensor]):
        super().__init__(weights, tokens)
        self.zero_shot = PlainCLIP(weights)
        with torch.no_grad():
            each = [self.zero_shot.text_feature(tokens) for tokens in zero_shot_tokens]
            mean = torch.stack(each).mean(dim=0)
            self.w_0 = F.normalize(mean, dim=-1)

    def text_features(self, learned: Learned) -> Tensor:
        return self.text(learned[TEXT].unbind())

    def both(self, learned: Learned, images: Tensor, w: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """logits_i and logits_t; ``w`` ``[C, d]`` are the prompted class features, if they are known."""
        with torch.no_grad():
            f_0 = self.zero_shot.image_feature(images)
        f = self.image(images, learned[VISION].unbind())
        return self.scale * f @ self.w_0.t(), self.scale * f_0 @ (self.text_features(learned) if w is None else w).t()

    def logits(self, learned: Learned, images: Tensor) -> Tensor:
        i, t = self.both(learned, images)
        return (i + t) / 2

    def loss(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """The first part's three cross-entropies."""
        i, t = self.both(learned, images)
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

    def step(
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
