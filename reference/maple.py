"""Deep prompts in both towers, plainly, and MaPLe: every token of every layer, 77 positions for every class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reference import Reference

from .shared.clip import causal
from .shared.numbers import WithImages
from .shared.official import BASE, TEXT, VISION, Command, Official, Shapes, around, linear, whole_clip
from .shared.plain import Learned, Plain, Weights, token_ids


class PlainDeepPrompts(Plain):
    """Towers whose first layers have learned tokens, those of a layer in the place of those before.

    ``tokens`` are ``[C, 77]``, the learned ones in the places after SOS.
    """

    def __init__(self, weights: Weights, tokens: Tensor):
        super().__init__(weights)
        self.tokens = tokens

    def text(self, prompts: Sequence[Tensor], rows: Sequence[int] | None = None) -> Tensor:
        """Unit features ``[C, d]``, or of some rows of ``tokens``; prompts are ``[K, d_t]`` per layer."""
        tokens = self.tokens if rows is None else self.tokens[list(rows)]
        x = self.clip.embed_text(tokens)
        places = self.clip.weights["positional_embedding"]
        for i, block in enumerate(self.clip.text_blocks):
            if i < len(prompts):
                count = len(prompts[i])
                new = prompts[i] + places[1 : 1 + count] if i == 0 else prompts[i]
                x = torch.cat([x[:, :1], new.expand(len(x), -1, -1), x[:, 1 + count :]], dim=1)
            x = block(x, causal(x.shape[1], x))
        return self.clip.read_text(x, tokens.argmax(dim=-1))

    def image(self, images: Tensor, prompts: Sequence[Tensor]) -> Tensor:
        """Unit features ``[B, d]``; prompts are ``[K, d_v]`` per layer, behind the patches."""
        x = self.clip.embed_images(images)
        own = x.shape[1]
        for i, block in enumerate(self.clip.image_blocks):
            if i < len(prompts):
                new = self.clip.norm("visual.ln_pre", prompts[i]) if i == 0 else prompts[i]
                x = torch.cat([x[:, :own], new.expand(len(x), -1, -1)], dim=1)
            x = block(x)
        last = self.clip.norm("visual.ln_post", x[:, 0])
        return self.clip.unit(last @ self.clip.weights["visual.proj"])


class PlainMaPLe(PlainDeepPrompts):
    """MaPLe's loss and scores from its learned tensors by name."""

    def class_features(self, learned: Learned) -> Tensor:
        return self.text(self._text(learned))

    def image_features(self, learned: Learned, images: Tensor) -> Tensor:
        names = ["proj", *(f"compound_prompt_projections.{i}" for i in range(len(self._text(learned)) - 1))]
        maps = [(learned[f"prompt_learner.{name}.weight"], learned[f"prompt_learner.{name}.bias"]) for name in names]
        texts = zip(self._text(learned), maps, strict=True)
        return self.image(images, [F.linear(text, weight, bias) for text, (weight, bias) in texts])

    def _text(self, learned: Learned) -> list[Tensor]:
        name = "prompt_learner.compound_prompts_text."
        deep = sum(key.startswith(name) for key in learned)
        return [learned["prompt_learner.ctx"], *(learned[f"{name}{i}"] for i in range(deep))]


def prompt_of(words: str, count: int) -> str:
    """Return the template whose first tokens are learned: words, or placeholders where they are more than four."""
    return f"{words.replace('_', ' ') if count <= 4 else ' '.join(['X'] * count)} {{}}."


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainMaPLe:
    """Build the equations."""
    node = cfg.TRAINER.MAPLE
    return PlainMaPLe(weights, token_ids(weights, prompt_of(node.CTX_INIT, node.N_CTX), names))


def draw(pick: Any, vision: int, text: int) -> dict[str, Any]:
    """Choose the number of tokens and the depth."""
    return {
        "TRAINER.MAPLE.N_CTX": pick(range(1, 6)),
        "TRAINER.MAPLE.PROMPT_DEPTH": pick(range(1, min(vision, text) + 1)),
        "TRAINER.MAPLE.CTX_INIT": "a_photo of a",
    }


def _learned() -> Shapes:
    name = "prompt_learner"
    shapes: Shapes = {f"{name}.ctx": (2, TEXT), **linear(f"{name}.proj", TEXT, VISION)}
    for i in range(8):
        shapes[f"{name}.compound_prompts_text.{i}"] = (2, TEXT)
        shapes |= linear(f"{name}.compound_prompt_projections.{i}", TEXT, VISION)
    return shapes


STEM = "vit_b16_c2_ep5_batch4_2ctx"
BOUNDS = {"eval_logits": 5e-4, "eval_logits_gpa": 1e-3}
IDLE = "TRAINER.{}.CTX_INIT 'a photo of a' has no effect: with {} 5, more than 4, all are drawn"

MaPLe = Reference(
    plain,
    draw=draw,
    toy={"TRAINER.MAPLE.PROMPT_DEPTH": 2},
    numbers=WithImages,
    bounds=BOUNDS,
    checkpoints=(Official(STEM, "MultiModalPromptLearner", 5, _learned(), around(2, "prompt_learner."), whole_clip),),
    commands=(
        Command(STEM, BASE, ("MAPLE.PROMPT_DEPTH", 9)),
        Command(f"{STEM}_cross_datasets", "DATASET.NUM_SHOTS 16", ("MAPLE.PROMPT_DEPTH", 3)),
    ),
    never_drawn=r"prompt_learner\.ctx",
    words="TRAINER.MAPLE.CTX_INIT",
    idle=("TRAINER.MAPLE.N_CTX", 5, IDLE.format("MAPLE", "N_CTX")),
)
