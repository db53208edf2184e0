"""MMRL: Multi-Modal Representation Learning for Vision-Language Models (Guo and Gu, CVPR 2025).

A small shared space of K learnable tokens R [K, d_r] is projected into layers J..L of both frozen CLIP towers. Class
features stay close to frozen CLIP, representation features learn the task; classes seen in training are scored with
both, unseen ones with the class feature alone.

Facts of the authors' release where the paper is silent (registered name, state-dict keys, initial values): one Linear
per tower is drawn and copied to every layer; the representation projection starts at N(0, 1/d_v), not at CLIP's own;
logits are scaled by the literal 100. The release mixes logits (FUSION logits), the paper probabilities (FUSION probs).

TRAINER.MMRL.VARIANT and REGULARIZER select the ablations of Tables 4 and 9 (``variants.py``, docs/ablations.md).

Shapes: B images, C classes, K tokens, M patches, d_v, d_t tower widths, d joint width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from clip.class_prompts import ClassPrompts
from clip.draws import Draw
from clip.layers import for_each, no_autocast
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from ..settings import MMRLppSettings, MMRLSettings, trained_as
from ..shared import official_stream
from ..shared.base import CLIPTrainer
from ..shared.cosine import at_least_float32, l2_normalize
from ..shared.method import Method
from ..shared.official_stream import a_clip, normal, one_linear
from ..shared.seeds import Losses, stacked
from ..shared.templates import fill, prompt_tokens, template_of
from .towers import check_towers
from .variants import INITIAL_STD, RepresentationProjection, distance, learner_of

LOGIT_SCALE = 100.0
CLASS_FEATURE, REPRESENTATION_FEATURE = "class feature f_c", "representation feature f_r"
ALONE, BOTH = "class feature", "both features"  # the rules for base and new classes in one space
Projected = tuple[Tensor, Tensor]
Numbers = MMRLSettings | MMRLppSettings


class Outputs(NamedTuple):
    """What a training step looks at: scores of both features ``[B, C]``, unit features, adapted and frozen."""

    logits: Tensor
    logits_rep: Tensor | None  # None without image tokens
    image_features: Tensor  # f_c [B, d]
    image_features_clip: Tensor  # f_0 [B, d]
    text_features: Tensor  # w [C, d]
    text_features_clip: Tensor  # w_0 [C, d]


class MMRLModel(Method):
    """The learned tensors and their use of a frozen CLIP with a ViT, for one filled-in prompt per class.

    ``both``: score with class and representation features (seen classes), or the class feature alone.
    """

    def __init__(self, clip_model: CLIP, prompts: Sequence[str], settings: Numbers, both: bool = True):
        super().__init__(clip_model)
        check_towers(settings, clip_model)
        self.settings, self.both = settings, settings.both_score(both)
        visual = clip_model.visual
        self.representation_learner, self.image_encoder = self.learned(settings, clip_model)
        image_blocks, text_blocks = list(visual.transformer.resblocks), list(clip_model.transformer.resblocks)
        lower, text_lower = settings.lower(len(image_blocks)), settings.lower(len(text_blocks))
        self.image_lower, self.image_upper = tuple(image_blocks[:lower]), tuple(image_blocks[lower:])
        self.text_upper = tuple(text_blocks[text_lower:])
        self.prompts = ClassPrompts(prompt_tokens(prompts), device=clip_model.positional_embedding.device)
        with torch.no_grad():
            # Text layers 1..J-1 and the frozen class features are the same at every step: computed once, here.
            self.text_states = self.prompts.run(text_blocks[:text_lower], self.prompts.embed(clip_model))
            self.text_features_clip = self._read_text(self.text_states, None)

    @staticmethod
    def learned(settings: Any, clip_model: CLIP) -> tuple[Any, Any]:
        """Return what is learned, at its initial values: the space and its maps, and the projection of f_r or None."""
        visual = clip_model.visual
        learner = learner_of(settings, visual.width, clip_model.transformer.width)
        if settings.variant == "wo_V":
            return learner, None
        return learner, RepresentationProjection(visual.width, visual.output_dim)

    def rep_projection(self) -> Tensor:
        """Return P_v^r ``[d_v, d]``."""
        return self.image_encoder.proj_rep

    def forward(self, images: Tensor) -> Outputs:
        """Return what the loss needs of images ``[B, 3, H, W]`` (paper, sections 3.2.2 and 3.2.3)."""
        vision, text = self.representation_learner(self.text_states.dtype)
        x, projected, f_0 = self._frozen(images, share=len(vision) > 1)
        f_c, f_r = self._image_features(x, vision, rep=True, projected=projected) if vision else (f_0, None)
        return self._outputs(f_c, f_r, f_0, self._adapted_text(text))

    def _outputs(self, f_c: Tensor, f_r: Tensor | None, f_0: Tensor, w: Tensor) -> Outputs:
        """Return a step's features with their scores."""
        return Outputs(*self.logits_of(f_c, f_r, w), f_c, f_0, w, self.text_features_clip)

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the paper's L_MMRL, and the scores that training accuracy is read from."""
        out = self(images)
        return self.loss_of(out, labels), self.fuse(out.logits, out.logits_rep)

    @staticmethod
    def joint_losses(models: Sequence[Any], images: Tensor, labels: Sequence[Tensor]) -> Losses:
        """Return ``loss`` of S models, each of its images of ``[S, B, 3, H, W]`` and its labels ``[B]``.

        One pass through the towers, in which each S-th of the images, and each version of the prompts, has its tokens.
        """
        first, seeds = models[0], len(models)
        towers = zip(*(model.representation_learner(first.text_states.dtype) for model in models), strict=True)
        vision, text = map(stacked, towers)
        x, projected, f_0 = first._frozen(images.flatten(0, 1), share=len(vision) > 1)
        shown = first._last_outputs(x, vision, projected) if vision else None
        w = first._read_texts(first.text_states, text) if text else [first.text_features_clip] * seeds
        found = []
        for i, model in enumerate(models):
            own_f_0 = f_0.unflatten(0, (seeds, -1))[i]
            f_c, f_r = (own_f_0, None) if shown is None else model._read_both(shown.unflatten(0, (seeds, -1))[i])
            out = model._outputs(f_c, f_r, own_f_0, w[i])
            found.append((model.loss_of(out, labels[i]), model.fuse(out.logits, out.logits_rep)))
        return found

    def loss_of(self, out: Outputs, labels: Tensor) -> Tensor:
        """Return alpha CE(f_c) + (1 - alpha) CE(f_r) + lambda (L_cos^v + L_cos^t); without f_r alpha is 1."""
        cross_entropy = F.cross_entropy(out.logits, labels)
        if out.logits_rep is not None:
            alpha = self.settings.alpha
            cross_entropy = alpha * cross_entropy + (1 - alpha) * F.cross_entropy(out.logits_rep, labels)
        kind = self.settings.regularizer
        image_term = distance(kind, out.image_features, out.image_features_clip)
        text_term = distance(kind, out.text_features, out.text_features_clip)
        return cross_entropy + self.settings.reg_weight * (image_term + text_term)

    @staticmethod
    def logits_of(f_c: Tensor, f_r: Tensor | None, w: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return scores ``[B, C]`` of f_c, and of f_r where there is one."""
        return _logits(f_c, w), None if f_r is None else _logits(f_r, w)

    def fuse(self, logits: Tensor, logits_rep: Tensor | None, alpha: float | None = None) -> Tensor:
        """Return one score of both ``[B, C]``: of probabilities as in the paper, or of logits as in the release.

        Without ``logits_rep`` the first stays as it is. ``alpha``: by default that of training.
        """
        if logits_rep is None:
            return logits
        alpha = self.settings.alpha if alpha is None else alpha
        if self.settings.fusion == "logits":
            return alpha * logits + (1 - alpha) * logits_rep
        return alpha * logits.softmax(dim=-1) + (1 - alpha) * logits_rep.softmax(dim=-1)

    def class_features(self) -> Tensor:
        return self._adapted_text(self.representation_learner(self.text_states.dtype)[1])

    def scores(self, images: Tensor, class_features: Tensor) -> Tensor:
        """Return evaluation scores ``[B, C]``: both features for seen classes, the class feature alone for others."""
        f_c, f_r = self.image_features(images, rep=self.both)
        return self.fuse(*self.logits_of(f_c, f_r, class_features))

    def image_features(self, images: Tensor, rep: bool = True) -> tuple[Tensor, Tensor | None]:
        """Return f_c ``[B, d]``, and f_r ``[B, d]`` if ``rep`` and where there is one."""
        vision, _ = self.representation_learner(self.text_states.dtype)
        x = self._image_lower(images)
        return self._image_features(x, vision, rep) if vision else (self._frozen_feature(x, None), None)

    def named_image_features(self, images: Tensor) -> dict[str, Tensor]:
        """Return f_c, and f_r where there is one."""
        found = zip((CLASS_FEATURE, REPRESENTATION_FEATURE), self.image_features(images), strict=True)
        return {name: features for name, features in found if features is not None}

    def weight_of_class_feature(self) -> float | None:
        """Return alpha where both features score, 1 where f_c alone does, and None where there is no f_r."""
        if self.image_encoder is None:
            return None
        return self.settings.alpha if self.both else 1.0

    def scores_at(self, alphas: Sequence[float], features: Mapping[str, Tensor], w: Tensor) -> Iterable[Tensor]:
        """Yield both features' scores ``[B, C]``, fused with each alpha."""
        logits = self.logits_of(features[CLASS_FEATURE], features[REPRESENTATION_FEATURE], w)
        return (self.fuse(*logits, alpha) for alpha in alphas)

    def use_classes(self, seen: bool) -> None:
        """Score the classes trained on with both features, others with the class feature alone (paper, Figure 3)."""
        self.both = self.settings.both_score(seen)

    @property
    def rules(self) -> tuple[str, ...]:  # type: ignore[override]
        """Return the class feature alone and both features, the variant's own first; without f_r the former only."""
        if self.image_encoder is None:
            return (ALONE,)
        return (BOTH, ALONE) if self.both else (ALONE, BOTH)

    def joint_scores(self, images: Tensor, class_features: Tensor) -> Tensor:
        """Return log-probabilities ``[B, R, C]`` by each of ``rules``, of features that are computed once."""
        own, (logits, logits_rep) = self.both, self.logits_of(*self.image_features(images), class_features)
        found = []
        for both in [own, not own][: len(self.rules)]:
            self.both = both  # what scores are goes by it
            found.append(self.log_probabilities(self.fuse(logits, logits_rep if both else None)))
        self.both = own
        return torch.stack(found, dim=1)

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return class probabilities ``[B, C]``; fused scores are that already unless logits were fused."""
        return scores if self.both and self.settings.fusion == "probs" else super().probabilities(scores)

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """Return the logarithm of ``probabilities`` ``[B, C]``, raised to float32's least normal number."""
        found = at_least_float32(self.probabilities(scores))
        return found.clamp_min(torch.finfo(torch.float32).tiny).log()

    def ignores_checkpoint_key(self, key: str) -> bool:
        name = key.removeprefix("image_encoder.")
        if name != key:
            return name in self.clip_model.visual.state_dict()
        return key.startswith("text_encoder.") or key.split(".")[-1] in ("prompt_embeddings", "logit_scale")

    def _image_lower(self, images: Tensor) -> Tensor:
        """Return the output ``[B, 1 + M, d_v]`` of layers 1..J-1, which the adapted and the zero-shot branch share."""
        x = self.clip_model.visual.embed(images)
        for block in self.image_lower:
            x = block(x)
        return x

    @torch.no_grad()
    def _frozen(self, images: Tensor, share: bool) -> tuple[Tensor, Projected | None, Tensor]:
        """Return layer J's input ``[B, 1 + M, d_v]``, if ``share`` its projections, and f_0 ``[B, d]``."""
        x = self._image_lower(images)
        projected = self.image_upper[0].project(x) if share else None
        return x, projected, self._frozen_feature(x, projected)

    def _frozen_feature(self, x: Tensor, projected: Projected | None) -> Tensor:
        """Return f_0 ``[B, d]`` from layer J on, without representation tokens."""
        for block in self.image_upper[:-1]:
            x = block.attend(x, *(projected or block.project(x)))
            projected = None
        out = self.image_upper[-1](x, rows=slice(0, 1))[:, 0]
        return l2_normalize(self.clip_model.visual.to_joint_space(out))

    def _image_features(
        self, x: Tensor, tokens: list[Tensor], rep: bool, projected: Projected | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return f_c ``[B, d]`` and, if ``rep``, f_r ``[B, d]``. Before layer L nobody reads the tokens' outputs.

        ``projected`` is layer J's projection of the patches and the class token, which both branches share.
        """
        if rep:
            return self._read_both(self._last_outputs(x, tokens, projected))
        x = self._below_last(x, tokens, projected)
        out = self.image_upper[-1](x, kv_tokens=tokens[-1], rows=slice(0, 1))
        return l2_normalize(self.clip_model.visual.to_joint_space(out[:, 0])), None

    def _below_last(self, x: Tensor, tokens: list[Tensor], projected: Projected | None) -> Tensor:
        """Return layer L's input ``[B, 1 + M, d_v]``. Tokens ``[S, K, d_v]`` are of S equal parts of the images."""
        for block, own in zip(self.image_upper[:-1], tokens[:-1], strict=True):
            x = block.attend(x, *(projected or block.project(x)), kv_tokens=own)
            projected = None
        return x

    def _last_outputs(self, x: Tensor, tokens: list[Tensor], projected: Projected | None) -> Tensor:
        """Return layer L's outputs ``[B, 1 + K, d_v]``: class token, representation tokens; for ``_below_last``'s."""
        x, own = self._below_last(x, tokens, projected), tokens[-1]
        x = torch.cat([x[:, :1], for_each(own, x.shape[0]), x[:, 1:]], dim=1)
        return self.image_upper[-1](x, rows=slice(0, 1 + own.shape[-2]))

    def _read_both(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """Return f_c and f_r ``[B, d]`` of ``_last_outputs``."""
        visual = self.clip_model.visual
        return l2_normalize(visual.to_joint_space(out[:, 0])), l2_normalize(self._read_rep(out[:, 1:]))

    def _read_rep(self, tokens: Tensor) -> Tensor:
        """Return f_r ``[B, d]``, not normalised, from the outputs of the representation tokens ``[B, K, d_v]``."""
        visual = self.clip_model.visual
        with no_autocast(tokens):
            return at_least_float32(visual.ln_post(tokens).mean(dim=1)) @ self.rep_projection()

    def _adapted_text(self, tokens: list[Tensor]) -> Tensor:
        """Return w ``[C, d]``; without text tokens it is w_0, and nothing is computed."""
        return self._read_text(self.text_states, tokens) if tokens else self.text_features_clip

    def _read_text(self, states: Tensor, tokens: list[Tensor] | None) -> Tensor:
        """Return class features ``[C, d]`` from the input of layer J on; the tokens stand right after BOT."""
        return self._read_texts(states, tokens)[0]

    def _read_texts(self, states: Tensor, tokens: list[Tensor] | None) -> Tensor:
        """Return class features ``[S, C, d]`` as ``_read_text`` does: a version for each of tokens ``[S, K, d_t]``."""
        versions = len(tokens[0]) if tokens and tokens[0].dim() == 3 else 1
        states = states.expand(versions, -1, -1)
        out = self.prompts.run(self.text_upper, states, tokens, kv_tokens_at=1, last=True)
        return l2_normalize(self.clip_model.text_to_joint_space(out))


def _logits(f: Tensor, w: Tensor) -> Tensor:
    """Return cosine similarities of unit features ``[B, d]`` and ``[C, d]``, times 100: ``[B, C]`` in float32."""
    with no_autocast(f):
        return LOGIT_SCALE * f @ w.t()


@TRAINER_REGISTRY.register()
class MMRL(CLIPTrainer):
    """Trainer of MMRL; ``TASK`` and the classes at hand decide which features score (paper, Figure 3)."""

    registered_name = "MultiModalRepresentationLearner"
    shape_settings = ("REP_LAYERS", "REP_DIM", "N_REP_TOKENS", "VARIANT")

    @classmethod
    def shaping(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings with the variant that was trained; checkpoints older than the key are of the full model."""
        return {**settings, "VARIANT": trained_as(settings.get("VARIANT", "full"))}

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> MMRLModel:
        prompts = fill(template_of(cfg), classnames)
        return MMRLModel(clip_model, prompts, cls.settings_of(cfg))

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """Yield two CLIPs, with P_v^r (the first's counts) behind ``proj``; R; a Linear for each tower."""
        variant = model.settings.variant
        if trained_as(variant) != "full":
            raise official_stream.Unknown(f"TRAINER.MMRL.VARIANT {variant} has no public code, so leave it out")
        rep, space = "image_encoder.proj_rep", "representation_learner.compound_rep_tokens"
        projection = normal(model, rep, model.rep_projection().shape[0] ** -0.5)
        yield from a_clip(model, ("visual.proj", projection))
        yield from a_clip(model, ("visual.proj", replace(projection, keep=())))
        yield normal(model, space, INITIAL_STD)
        for tower in ("r2v", "r2t"):
            yield from one_linear(model, *(f"{space}_{tower}proj.{i}" for i in range(len(model.settings.rep_layers))))
