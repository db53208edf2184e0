"""MMRL: Multi-Modal Representation Learning for Vision-Language Models (Guo and Gu, CVPR 2025).

A small shared space of K learnable tokens R [K, d_r] is projected into layers J..L of both frozen CLIP towers. Class
features stay close to frozen CLIP, representation features learn the task; classes seen in training are scored with
both, unseen ones with the class feature alone.

Facts of the authors' release where the paper is silent (registered name, state-dict keys, initial values): one Linear
per tower is drawn and copied to every layer; the representation projection starts at N(0, 1/d_v), not at CLIP's own;
logits are scaled by the literal 100. The release mixes logits (FUSION logits), the paper probabilities (FUSION probs).

Shapes: B images, C classes, K tokens, M patches, d_v, d_t tower widths, d joint width.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip.class_prompts import ClassPrompts
from clip.layers import no_autocast
from clip.model import CLIP, VisionTransformer
from dassl.engine import TRAINER_REGISTRY

from .base import CLIPTrainer, Method, unit, wide
from .templates import fill, prompt_tokens, template_of

LOGIT_SCALE = 100.0
Projected = tuple[Tensor, Tensor]
S = TypeVar("S", bound="Settings")


@dataclass(frozen=True)
class Settings:
    """The numbers of the paper: alpha, lambda, J..L, d_r, K; and how the two scores are mixed.

    Layers count from 1, or from the end: (-3, -2, -1) are the last three of each tower, however deep it is.
    """

    alpha: float
    reg_weight: float
    rep_layers: tuple[int, ...]
    rep_dim: int
    n_rep_tokens: int
    fusion: str = "probs"

    node: ClassVar[str] = "MMRL"  # of the configuration: TRAINER.MMRL

    @classmethod
    def from_cfg(cls: type[S], node: Any) -> S:
        """From the method's node. Raises ValueError naming the key that is out of range."""
        settings = cls(**cls.read(node))
        settings.check()
        return settings

    @classmethod
    def read(cls, node: Any) -> dict[str, Any]:
        """The node's values by the names of the fields."""
        return {
            "alpha": float(node.ALPHA),
            "reg_weight": float(node.REG_WEIGHT),
            "rep_layers": tuple(node.REP_LAYERS),
            "rep_dim": int(node.REP_DIM),
            "n_rep_tokens": int(node.N_REP_TOKENS),
            "fusion": str(node.FUSION),
        }

    def check(self) -> None:
        """Raises ValueError naming the key that is out of range."""
        for line, fine in self.rules().items():
            if not fine:
                raise ValueError(f"TRAINER.{self.node}.{line}")

    def rules(self) -> dict[str, Any]:
        """What must be true, by the line that says so where it is not."""
        return {
            f"ALPHA must lie in [0, 1], not {self.alpha}": 0 <= self.alpha <= 1,
            f"REG_WEIGHT must be at least 0, not {self.reg_weight}": self.reg_weight >= 0,
            "REP_LAYERS is empty: give the layers J to L, such as [6, 7, 8, 9, 10, 11, 12]": self.rep_layers,
            f"REP_DIM must be at least 1, not {self.rep_dim}": self.rep_dim >= 1,
            f"N_REP_TOKENS must be at least 1, not {self.n_rep_tokens}": self.n_rep_tokens >= 1,
            f"FUSION must be probs or logits, not {self.fusion!r}": self.fusion in ("probs", "logits"),
        }

    def check_towers(self, clip_model: CLIP) -> None:
        """Raises ValueError where the towers have no room for the representation tokens."""
        if not isinstance(clip_model.visual, VisionTransformer):
            raise ValueError(
                f"{self.node} needs a ViT image tower: this backbone is a ResNet; set MODEL.BACKBONE.NAME to ViT-B/16"
            )
        layers = list(self.rep_layers)
        towers = {"image": clip_model.visual.transformer.layers, "text": clip_model.transformer.layers}
        hint = ""
        if layers[0] >= 0 and towers["image"] != towers["text"]:
            hint = f"; where towers differ in depth, count from the end: {list(range(-len(layers), 0))}"
        for tower, depth in towers.items():
            lowest, last = (1, depth) if layers[0] >= 0 else (-depth, -1)
            if not lowest <= layers[0] <= last:
                raise ValueError(
                    f"TRAINER.{self.node}.REP_LAYERS starts at layer {layers[0]}, but the {tower} tower has layers "
                    f"{lowest} to {last}{hint}"
                )
            if layers != list(range(layers[0], last + 1)):
                raise ValueError(
                    f"TRAINER.{self.node}.REP_LAYERS must run without a gap from J to the {tower} tower's last layer "
                    f"{last}, not {layers}{hint}"
                )

    def lower(self, depth: int) -> int:
        """How many layers of a tower of this depth come before J."""
        first = self.rep_layers[0]
        return depth + first if first < 0 else first - 1


class RepresentationLearner(nn.Module):
    """The space R and its maps into both towers (paper, section 3.2.1), under the release's names."""

    def __init__(self, settings: Settings, vision_width: int, text_width: int):
        super().__init__()
        self.compound_rep_tokens = nn.Parameter(torch.empty(settings.n_rep_tokens, settings.rep_dim))
        nn.init.normal_(self.compound_rep_tokens, std=0.02)
        depth = len(settings.rep_layers)
        self.compound_rep_tokens_r2vproj = _copies(nn.Linear(settings.rep_dim, vision_width), depth)
        self.compound_rep_tokens_r2tproj = _copies(nn.Linear(settings.rep_dim, text_width), depth)

    def forward(self, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
        """Tokens of layers J..L: images ``[K, d_v]`` each, text ``[K, d_t]`` each."""
        tokens = self.compound_rep_tokens
        vision = [proj(tokens).to(dtype) for proj in self.compound_rep_tokens_r2vproj]
        text = [proj(tokens).to(dtype) for proj in self.compound_rep_tokens_r2tproj]
        return vision, text


def _copies(linear: nn.Linear, count: int) -> nn.ModuleList:
    return nn.ModuleList(copy.deepcopy(linear) for _ in range(count))


class RepresentationProjection(nn.Module):
    """P_v^r, the trainable projection of the representation feature (``image_encoder.proj_rep`` in the release)."""

    def __init__(self, vision_width: int, embed_dim: int):
        super().__init__()
        self.proj_rep = nn.Parameter(vision_width**-0.5 * torch.randn(vision_width, embed_dim))


class Outputs(NamedTuple):
    """What a training step looks at: scores of both features ``[B, C]``, unit features, adapted and frozen."""

    logits: Tensor
    logits_rep: Tensor
    image_features: Tensor  # f_c [B, d]
    image_features_clip: Tensor  # f_0 [B, d]
    text_features: Tensor  # w [C, d]
    text_features_clip: Tensor  # w_0 [C, d]


class MMRLModel(Method):
    """The learned tensors and their use of a frozen CLIP; ``state_dict`` holds what is learned and nothing else.

    Args:
        clip_model: frozen CLIP with a ViT image tower.
        prompts: one filled-in prompt per class.
        settings: the paper's numbers.
        both: score with class and representation features (seen classes), or the class feature alone.
    """

    def __init__(self, clip_model: CLIP, prompts: Sequence[str], settings: Settings, both: bool = True):
        super().__init__(clip_model)
        settings.check_towers(clip_model)
        self.settings, self.both = settings, both
        visual: Any = clip_model.visual
        self.representation_learner, self.image_encoder = self.learned(settings, clip_model)
        image_blocks, text_blocks = list(visual.transformer.resblocks), list(clip_model.transformer.resblocks)
        lower, text_lower = settings.lower(len(image_blocks)), settings.lower(len(text_blocks))
        self.image_lower, self.image_upper = tuple(image_blocks[:lower]), tuple(image_blocks[lower:])
        self.text_upper = tuple(text_blocks[text_lower:])
        self.prompts = ClassPrompts(prompt_tokens(prompts).to(clip_model.positional_embedding.device))
        with torch.no_grad():
            # Text layers 1..J-1 and the frozen class features are the same at every step: computed once, here.
            self.text_states = self.prompts.run(text_blocks[:text_lower], self.prompts.embed(clip_model))
            self.text_features_clip = self._read_text(self.text_states, None)

    @staticmethod
    def learned(settings: Any, clip_model: CLIP) -> tuple[Any, Any]:
        """What is learned, at its initial values: the space and its maps, and the projection of f_r."""
        visual: Any = clip_model.visual
        learner = RepresentationLearner(settings, visual.width, clip_model.transformer.width)
        return learner, RepresentationProjection(visual.width, visual.output_dim)

    def rep_projection(self) -> Tensor:
        """P_v^r ``[d_v, d]``."""
        return self.image_encoder.proj_rep

    def forward(self, images: Tensor) -> Outputs:
        """Images ``[B, 3, H, W]`` to everything the loss needs (paper, sections 3.2.2 and 3.2.3)."""
        vision, text = self.representation_learner(self.text_states.dtype)
        w = self._read_text(self.text_states, text)
        with torch.no_grad():
            x = self._image_lower(images)
            projected = self.image_upper[0].project(x) if len(vision) > 1 else None
            f_0 = self._frozen_feature(x, projected)
        f_c, f_r = self._image_features(x, vision, rep=True, projected=projected)
        assert f_r is not None
        return Outputs(_logits(f_c, w), _logits(f_r, w), f_c, f_0, w, self.text_features_clip)

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The paper's L_MMRL and the scores that training accuracy is read from."""
        out = self(images)
        return self.loss_of(out, labels), self.fuse(out.logits, out.logits_rep)

    def loss_of(self, out: Outputs, labels: Tensor) -> Tensor:
        """alpha CE(f_c) + (1 - alpha) CE(f_r) + lambda (L_cos^v + L_cos^t)."""
        alpha, weight = self.settings.alpha, self.settings.reg_weight
        cross_entropy = alpha * F.cross_entropy(out.logits, labels)
        cross_entropy = cross_entropy + (1 - alpha) * F.cross_entropy(out.logits_rep, labels)
        image_term = 1 - (out.image_features * out.image_features_clip).sum(dim=-1).mean()
        text_term = 1 - (out.text_features * out.text_features_clip).sum(dim=-1).mean()
        return cross_entropy + weight * (image_term + text_term)

    def fuse(self, logits: Tensor, logits_rep: Tensor) -> Tensor:
        """Both scores ``[B, C]`` into one: probabilities as in the paper, or logits as in the release."""
        alpha = self.settings.alpha
        if self.settings.fusion == "logits":
            return alpha * logits + (1 - alpha) * logits_rep
        return alpha * logits.softmax(dim=-1) + (1 - alpha) * logits_rep.softmax(dim=-1)

    def class_features(self) -> Tensor:
        """w ``[C, d]``, once per evaluation."""
        return self._read_text(self.text_states, self.representation_learner(self.text_states.dtype)[1])

    def scores(self, images: Tensor, class_features: Tensor) -> Tensor:
        """Evaluation scores ``[B, C]``: both features for seen classes, the class feature alone for others."""
        vision, _ = self.representation_learner(self.text_states.dtype)
        f_c, f_r = self._image_features(self._image_lower(images), vision, rep=self.both)
        logits = _logits(f_c, class_features)
        return logits if f_r is None else self.fuse(logits, _logits(f_r, class_features))

    def use_classes(self, seen: bool) -> None:
        """Both features for the classes trained on, the class feature alone for others (paper, Figure 3)."""
        self.both = seen

    def probabilities(self, scores: Tensor) -> Tensor:
        """Class probabilities ``[B, C]``; fused scores are that already unless logits were fused."""
        return scores if self.both and self.settings.fusion == "probs" else super().probabilities(scores)

    def is_frozen(self, key: str) -> bool:
        """Official checkpoints hold all of CLIP, and the prompts' embeddings of the classes trained on."""
        name = key.removeprefix("image_encoder.")
        if name != key:
            return name in self.clip_model.visual.state_dict()
        return key.startswith("text_encoder.") or key.split(".")[-1] in ("prompt_embeddings", "logit_scale")

    def _image_lower(self, images: Tensor) -> Tensor:
        """Layers 1..J-1, frozen and shared by the adapted and the zero-shot branch: ``[B, 1 + M, d_v]``."""
        x = self.clip_model.visual.embed(images)
        for block in self.image_lower:
            x = block(x)
        return x

    def _frozen_feature(self, x: Tensor, projected: Projected | None) -> Tensor:
        """f_0 ``[B, d]`` from layer J on, without representation tokens."""
        for block in self.image_upper[:-1]:
            x = block.attend(x, *(projected or block.project(x)))
            projected = None
        out = self.image_upper[-1](x, rows=slice(0, 1))[:, 0]
        return unit(self.clip_model.visual.read(out))

    def _image_features(
        self, x: Tensor, tokens: list[Tensor], rep: bool, projected: Projected | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """f_c ``[B, d]`` and, if ``rep``, f_r ``[B, d]``. Outputs of tokens before layer L are never read: context.

        ``projected`` is layer J's projection of the patches and the class token, which both branches share.
        """
        for block, context in zip(self.image_upper[:-1], tokens[:-1], strict=True):
            x = block.attend(x, *(projected or block.project(x)), context=context)
            projected = None
        visual, last = self.clip_model.visual, self.image_upper[-1]
        if not rep:
            return unit(visual.read(last(x, context=tokens[-1], rows=slice(0, 1))[:, 0])), None
        count = len(tokens[-1])
        x = torch.cat([x[:, :1], tokens[-1].expand(x.shape[0], -1, -1), x[:, 1:]], dim=1)
        out = last(x, rows=slice(0, 1 + count))
        return unit(visual.read(out[:, 0])), self._read_rep(out[:, 1:])

    def _read_rep(self, tokens: Tensor) -> Tensor:
        """f_r ``[B, d]`` from the outputs of the representation tokens ``[B, K, d_v]``."""
        visual: Any = self.clip_model.visual
        with no_autocast(tokens):
            return unit(wide(visual.ln_post(tokens).mean(dim=1)) @ self.rep_projection())

    def _read_text(self, states: Tensor, tokens: list[Tensor] | None) -> Tensor:
        """Class features ``[C, d]`` from the input of layer J on; the tokens stand right after BOT."""
        out = self.prompts.run(self.text_upper, states, tokens, context_at=1, last=True)
        return unit(self.clip_model.read_text(out[0]))


def _logits(f: Tensor, w: Tensor) -> Tensor:
    """Cosine similarities of unit features ``[B, d]`` and ``[C, d]``, times 100: ``[B, C]`` in float32."""
    with no_autocast(f):
        return LOGIT_SCALE * f @ w.t()


@TRAINER_REGISTRY.register()
class MMRL(CLIPTrainer):
    """Trainer of MMRL; ``TASK`` and the classes at hand decide which features score (paper, Figure 3)."""

    registered_name = "MultiModalRepresentationLearner"
    shape_settings = ("REP_LAYERS", "REP_DIM", "N_REP_TOKENS")

    def check_cfg(self, cfg: Any) -> None:
        """Raises ValueError naming the key that is out of range."""
        super().check_cfg(cfg)
        Settings.from_cfg(cfg.TRAINER.MMRL)

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> MMRLModel:
        """The model over these classes with the data set's template."""
        prompts = fill(template_of(cfg), classnames)
        return MMRLModel(clip_model, prompts, Settings.from_cfg(cfg.TRAINER.MMRL))
