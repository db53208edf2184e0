"""RPO: Read-only Prompt Optimization for Vision-Language Few-shot Learning (Lee et al., ICCV 2023).

K pairs of learned tokens, one of each tower. They read the tower's own tokens in every layer, and nothing reads them:
masks hide them from one another, from themselves and from the original tokens, whose path therefore stays frozen
CLIP's. A pair's score is the cosine logit of its two outputs; the mean over the pairs goes into a cross-entropy, no
other term. The outputs of EOT and class token are not used.

As in the official code: a text prompt stands behind EOT and has no positional embedding, an image prompt has none
either but goes through ln_pre; "a photo of a _." for every data set, with the raw class name (underscores stay),
unless DATASET.TEMPLATE says otherwise; text prompts start at EOT's embedding, image prompts at the class token's, each
plus 0.1 times a random direction. The prompts stay float32 in every precision (the official ones are half).

As the original tokens' path is frozen, its keys and values are computed once per run (text) or once per batch without
a graph (images); prompts need no keys and values.

Shapes: B images, C classes, K pairs, d_v, d_t tower widths, d joint width.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip.class_prompts import ClassPrompts
from clip.draws import Draw
from clip.layers import stream_dtype
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .shared.base import CLIPTrainer
from .shared.cosine import cosine_logits, l2_normalize
from .shared.deep_prompts import check_vit
from .shared.method import IMAGE_FEATURE, Method
from .shared.official_stream import a_clip, normal
from .shared.templates import prompt_tokens, template_of

TEMPLATE = "a photo of a {}."
NOISE = 0.1


class RPOModel(Method):
    """K ``pairs`` of ``text_prompt`` ``[K, d_t]``, which read one filled-in text per class, and ``img_prompt``."""

    def __init__(self, clip_model: CLIP, prompts: list[str], pairs: int):
        super().__init__(clip_model)
        check_vit(clip_model, "RPO")
        tokens = prompt_tokens(prompts)
        self.prompts = ClassPrompts(tokens, device=clip_model.positional_embedding.device)
        with torch.no_grad():  # the same at every step
            self.seen = self.prompts.keys_values(clip_model.transformer.resblocks, self.prompts.embed(clip_model))
        end = clip_model.token_embedding.weight[int(tokens.max())]
        self.starts = {"text_prompt": end, "img_prompt": clip_model.visual.class_embedding.detach()}
        self.text_prompt, self.img_prompt = (
            nn.Parameter(_around(start, torch.randn(pairs, len(start)))) for start in self.starts.values()
        )

    def from_noise(self, name: str, values: Tensor) -> Tensor:
        """Return prompts around their start, moved in the directions ``values`` ``[K, d]``."""
        return _around(self.starts[name], values)

    def class_features(self) -> Tensor:
        """Return w ``[C, K, d]``, each of unit length."""
        clip_model = self.clip_model
        prompts = self.text_prompt.to(stream_dtype(clip_model.dtype, self.text_prompt.device))
        outputs = self.prompts.run_readers(clip_model.transformer.resblocks, prompts, self.seen)
        return l2_normalize(clip_model.text_to_joint_space(outputs))

    def image_features(self, images: Tensor) -> Tensor:
        """Return f ``[B, K, d]``, each of unit length."""
        visual = self.clip_model.visual
        blocks = list(visual.transformer.resblocks)
        with torch.no_grad():
            x = visual.embed(images)
        prompts = visual.ln_pre(self.img_prompt.to(x.dtype))[None]
        for block in blocks:
            with torch.no_grad():  # frozen CLIP's own path; of the last layer no output is read
                q, kv = (None, block.keys_values(x)) if block is blocks[-1] else block.project(x)
                x = x if q is None else block.attend(x, q, kv)
            reading = block.attn.queries(block.ln_1(prompts)).expand(len(x), -1, -1)
            prompts = block.finish(prompts, block.attn.mix(reading, kv))
        return l2_normalize(visual.to_joint_space(prompts))

    def scores(self, images: Tensor, class_features: Tensor) -> Tensor:
        """Return the mean over the pairs of exp(logit_scale) f_k w_k^T, ``[B, C]``."""
        f, w = self.image_features(images), class_features
        return cosine_logits(self.clip_model, f.flatten(1), w.flatten(1)) / f.shape[1]

    def named_image_features(self, images: Tensor) -> dict[str, Tensor]:
        """Return the mean of the K features of an image."""
        return {IMAGE_FEATURE: l2_normalize(self.image_features(images).mean(dim=1))}

    def one_feature_per_class(self, class_features: Tensor) -> Tensor:
        """Return the mean of the K features of a class."""
        return l2_normalize(class_features.mean(dim=1))


def _around(start: Tensor, noise: Tensor) -> Tensor:
    """Return copies of ``start`` ``[d]``, each moved by 0.1 in a direction of ``noise`` ``[K, d]``, in float32."""
    return start.detach().float() + NOISE * F.normalize(noise, dim=-1).to(start.device)


@TRAINER_REGISTRY.register()
class RPO(CLIPTrainer):
    """Trainer of RPO."""

    registered_name = "prompt_learner"
    shape_settings = ("K",)

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> RPOModel:
        template = template_of(cfg) if cfg.DATASET.TEMPLATE else TEMPLATE
        return RPOModel(clip_model, [template.format(name) for name in classnames], cls.settings_of(cfg).k)

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """Yield a CLIP; the directions of text prompts and of image prompts, in float32."""
        yield from (*a_clip(model), normal(model, "text_prompt", 1.0), normal(model, "img_prompt", 1.0))
