"""MMRL, plainly, from the paper's section 3.2: two CLIPs, 77 + K text positions, every token in every layer."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reference import Reference
from trainers.shared.templates import template_of

from .shared.clip import PlainCLIP, causal
from .shared.numbers import Numbers
from .shared.official import BASE, CLASSES, JOINT, TEXT, VISION, Command, Official, Shapes, linear, whole_clip
from .shared.plain import Learned, Plain, Weights, depths, token_ids


class PlainMMRL(Plain):
    """Loss and scores from the learned tensors given by name (``learned``), with no shortcut of any kind.

    ``first`` is J, and ``text_first`` that of the text tower where it differs. ``variant`` of Table 4, ``regularizer``
    of Table 9 and ``fusion`` as TRAINER.MMRL has them. ``how``: arguments of ``PlainCLIP``.
    """

    def __init__(
        self,
        weights: Weights,
        tokens: Tensor,
        first: int,
        alpha: float,
        reg_weight: float,
        text_first: int | None = None,
        variant: str = "full",
        regularizer: str = "cos",
        fusion: str = "probs",
        **how: Any,
    ):
        super().__init__(weights, **how)
        self.zero_shot, self.fusion = PlainCLIP(weights, **how), fusion
        self.tokens, self.alpha, self.reg_weight = tokens, alpha, reg_weight
        with torch.no_grad():
            self.w_0 = self.zero_shot.text_feature(tokens)
        self.first = {"v": first, "t": first if text_first is None else text_first}
        self.variant, self.regularizer = variant, regularizer
        if variant == "wo_V":
            self.first["v"] = len(self.clip.image_blocks) + 1
        if variant == "wo_L":
            self.first["t"] = len(self.clip.text_blocks) + 1

    def rep_tokens(self, learned: Learned, modality: str, layer: int) -> Tensor:
        """R_i ``[K, d_modality]`` that stands before the 1-based layer; F_i(R) in the full model."""
        place, learner = layer - self.first[modality], "representation_learner"
        if self.variant == "wo_RS":
            return learned[f"{learner}.{'vision' if modality == 'v' else 'text'}_rep_tokens.{place}"]
        if self.variant == "biased":
            source, name = learned[f"{learner}.text_rep_tokens.{place}"], f"{learner}.text_rep_tokens_t2vproj.{place}"
            if modality == "t":
                return source
        else:
            name = f"{learner}.compound_rep_tokens_r2{modality}proj.{place}"
            source = learned[f"{learner}.compound_rep_tokens"]
        return F.linear(source, learned[f"{name}.weight"], learned[f"{name}.bias"])

    def mix(self, rep: Tensor, outputs: Tensor) -> Tensor:
        """The tokens before a layer after J: its own, whatever the layer before made of those before them."""
        return rep

    def projection(self, learned: Learned) -> Tensor:
        """P_v^r ``[d_v, d]``."""
        return learned["image_encoder.proj_rep"]

    def put(self, learned: Learned, modality: str, layer: int, x: Tensor) -> Tensor:
        """The input of a layer: tokens enter before layer J, and others take their place before later ones."""
        first = self.first[modality]
        if layer < first:
            return x
        rep = self.rep_tokens(learned, modality, layer).expand(len(x), -1, -1)
        if layer == first:
            return torch.cat([x[:, :1], rep, x[:, 1:]], dim=1)
        count = rep.shape[1]
        return torch.cat([x[:, :1], self.mix(rep, x[:, 1 : 1 + count]), x[:, 1 + count :]], dim=1)

    def features(self, learned: Learned, images: Tensor) -> dict[str, Any]:
        """f_c, f_r ``[B, d]``, w ``[C, d]`` and the frozen f_0, w_0; f_r is None without image tokens."""
        with torch.no_grad():
            f_0 = self.zero_shot.image_feature(images)
        f_c, f_r = self.image_features(learned, images)
        return {"f_c": f_c, "f_r": f_r, "w": self.class_features(learned), "f_0": f_0, "w_0": self.w_0}

    def image_features(self, learned: Learned, images: Tensor) -> tuple[Tensor, Any]:
        """f_c and f_r ``[B, d]``, None without image tokens."""
        x = self.clip.embed_images(images)
        own = x.shape[1]
        for layer, block in enumerate(self.clip.image_blocks, start=1):
            x = block(self.put(learned, "v", layer, x))
        count = x.shape[1] - own
        x = self.clip.norm("visual.ln_post", x)
        f_c = x[:, 0] @ self.clip.weights["visual.proj"]
        if count == 0:
            return F.normalize(f_c, dim=-1), None
        f_r = x[:, 1 : 1 + count].mean(dim=1) @ self.projection(learned)
        return F.normalize(f_c, dim=-1), F.normalize(f_r, dim=-1)

    def class_features(self, learned: Learned) -> Tensor:
        x = self.clip.embed_text(self.tokens)
        own = x.shape[1]
        for layer, block in enumerate(self.clip.text_blocks, start=1):
            x = self.put(learned, "t", layer, x)
            x = block(x, causal(x.shape[1], x))
        return self.clip.read_text(x, self.tokens.argmax(dim=-1) + x.shape[1] - own)

    def loss(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """alpha L_ce^c + (1 - alpha) L_ce^r + lambda (L_cos^v + L_cos^t); L_ce^c alone where there is no f_r."""
        f = self.features(learned, images)
        fit = F.cross_entropy(100 * f["f_c"] @ f["w"].t(), labels)
        if f["f_r"] is not None:
            fit = self.alpha * fit + (1 - self.alpha) * F.cross_entropy(100 * f["f_r"] @ f["w"].t(), labels)
        return fit + self.reg_weight * (self.away(f["f_c"], f["f_0"]) + self.away(f["w"], f["w_0"]))

    def away(self, features: Tensor, frozen: Tensor) -> Tensor:
        """L_cos, or the mean absolute or squared difference of all values."""
        if self.regularizer == "l1":
            return (features - frozen).abs().mean()
        if self.regularizer == "mse":
            return (features - frozen).square().mean()
        return 1 - F.cosine_similarity(features, frozen).mean()

    def scores(self, learned: Learned, images: Tensor, class_features: Tensor, seen: bool = True) -> Tensor:
        """``[B, C]``: seen classes with both features (where there are two), others with the class feature."""
        f_c, f_r = self.image_features(learned, images)
        of_class = 100 * f_c @ class_features.t()
        if not seen or f_r is None:
            return of_class
        of_rep = 100 * f_r @ class_features.t()
        if self.fusion == "probs":
            of_class, of_rep = of_class.softmax(dim=-1), of_rep.softmax(dim=-1)
        return self.alpha * of_class + (1 - self.alpha) * of_rep

    def probabilities(self, scores: Tensor, seen: bool = True) -> Tensor:
        """p(y | x) ``[B, C]``; fused scores are that already unless logits were fused."""
        return scores if seen and self.fusion == "probs" and self.variant != "wo_V" else scores.softmax(dim=-1)


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainMMRL:
    """Build the equations."""
    node = cfg.TRAINER.MMRL
    tokens, (first, text_first) = token_ids(weights, template_of(cfg), names), first_layers(weights, node)
    numbers = first, node.ALPHA, node.REG_WEIGHT, text_first
    return PlainMMRL(weights, tokens, *numbers, node.VARIANT, node.REGULARIZER, node.FUSION)


def first_layers(weights: Weights, node: Any) -> list[int]:
    """Return J, counted from 1, of the image tower and of the text tower."""
    first = node.REP_LAYERS[0]
    return [first if first > 0 else 1 + depth + first for depth in depths(weights)]


def draw(pick: Any, vision: int, text: int, name: str = "MMRL") -> dict[str, Any]:
    """Choose J from the first to the last layer, K from 1, d_r, alpha at its limits, and how scores are mixed."""
    return {
        f"TRAINER.{name}.REP_LAYERS": list(range(-pick(range(1, min(vision, text) + 1)), 0)),
        f"TRAINER.{name}.N_REP_TOKENS": pick(range(1, 5)),
        f"TRAINER.{name}.REP_DIM": pick(range(1, 9)),
        f"TRAINER.{name}.ALPHA": pick([0.0, 0.3, 0.7, 1.0]),
        f"TRAINER.{name}.REG_WEIGHT": 2.0,
        f"TRAINER.{name}.FUSION": pick(["probs", "logits"]),
    }


class Golden(Numbers):
    """Features and scores of both kinds, adapted and frozen."""

    def before(self) -> dict[str, Tensor]:
        out = self.model(self.images)
        return out._asdict() | {"logits_fusion": self.model.fuse(out.logits, out.logits_rep)}

    def after(self) -> dict[str, Tensor]:
        """Scores after training, and the space."""
        found = {f"eval_{name}": value for name, value in self.before().items() if name.startswith("logits")}
        return found | {"final/compound_rep_tokens": self.model.representation_learner.compound_rep_tokens}


def official(projection: Shapes, maps: Shapes) -> Official:
    """Return the release's checkpoint with this projection and these maps from the space."""
    name = "representation_learner"
    return Official(
        *("vit_b16", "MultiModalRepresentationLearner", 10),
        {f"{name}.compound_rep_tokens": (5, 512), **{f"{name}.{key}": maps[key] for key in maps}, **projection},
        {f"{name}.prompt_embeddings": (CLASSES, 77, TEXT)},
        whole_clip,
        torch.float32,
        torch.optim.AdamW,
        ignored=("text_encoder.",),
    )


MAPS = {
    name: shape
    for i in range(7)
    for tower, width in (("v", VISION), ("t", TEXT))
    for name, shape in linear(f"compound_rep_tokens_r2{tower}proj.{i}", 512, width).items()
}
BOUNDS = {"losses": 1e-5}

MMRL = Reference(
    plain,
    draw=draw,
    toy={"TRAINER.MMRL.REP_LAYERS": [2, 3], "TRAINER.MMRL.REP_DIM": 16},
    numbers=Golden,
    bounds=BOUNDS,
    checkpoints=(official({"image_encoder.proj_rep": (VISION, JOINT)}, MAPS),),
    commands=(Command("vit_b16", f"{BASE} TASK B2N TRAINER.MMRL.REP_DIM 512", ("MMRL.REP_DIM", 512)),),
    clips_built=2,
)
