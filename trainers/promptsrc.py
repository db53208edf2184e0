"""PromptSRC: Self-regulating Prompts, foundational model adaptation without forgetting (Khattak et al., ICCV 2023).

Learned tokens in the first layers of both towers, each tower's its own, and three ways to stay close to frozen CLIP,
with s, g~, f~ prompted and t, g, f frozen logits, unit text and unit image features:

    L = CE(s, y) + 25 mean|g~ - g| + 10 mean|f~ - f| + KL(t || s) / (B C),

means over all elements; g is the mean of 60 templates' features, not normalised before averaging. Last, the model
that is kept is the average of those after each epoch, weighted by a normal density over epochs (GPA_MEAN, GPA_STD,
counted from 1).

As in the official code: "a photo of a {}." for every data set; the text tower's first tokens start from those words
and have positional embeddings; the image tower's first tokens pass ``ln_pre`` and have none; deeper ones neither; KL
is divided by the number of logits. Otherwise than there: the average is over what is learned alone (theirs takes in
the frozen half-precision weights too, and so rounds them), it goes on where a run is resumed, and learned tensors are
float32 in every precision.

Shapes: B images, C classes, K tokens, J layers with tokens, d_v, d_t tower widths, d joint width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clip.draws import Draw
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .settings import PromptSRCSettings, words_of_deep_text
from .shared.base import CLIPTrainer
from .shared.context import INIT_STD, is_class_buffer, text_outputs
from .shared.cosine import cosine_logits, l2_normalize
from .shared.deep_prompts import (
    DeepText,
    ImageStart,
    check_depth,
    check_vit,
    initial_context,
    is_clip_tensor,
    normal_init,
    register_parameter_at,
)
from .shared.method import Method
from .shared.official_stream import a_clip, normal, words_or
from .shared.seeds import Losses, stacked
from .shared.templates import fill, imagenet_templates

FIRST_TEMPLATE = "a photo of a {}."
TEACHER_TEMPLATES = 60


class PromptSRCModel(Method):
    """Prompts of both towers under their official names, and the frozen teacher."""

    changes_image_feature = True

    def __init__(self, clip_model: CLIP, classnames: list[str], settings: PromptSRCSettings):
        super().__init__(clip_model)
        visual = check_vit(clip_model, "PromptSRC")
        image, text = visual.transformer.layers, clip_model.transformer.layers
        check_depth(settings.prompt_depth_vision, image, settings.key("PROMPT_DEPTH_VISION"), "image")
        check_depth(settings.prompt_depth_text, text, settings.key("PROMPT_DEPTH_TEXT"), "text")
        self.settings, self.classnames = settings, classnames
        words, ctx = initial_context(clip_model, settings.ctx_init, settings.n_ctx_text, settings.key("N_CTX_TEXT"))
        shallow = "transformer.resblocks.{}.VPT_shallow"
        depths = {"text_encoder": settings.prompt_depth_text, "image_encoder": settings.prompt_depth_vision}
        deep = [[f"{tower}.{shallow.format(i)}" for i in range(1, depth)] for tower, depth in depths.items()]
        self.text_names, self.vision_names = ["prompt_learner.ctx", *deep[0]], ["image_encoder.VPT", *deep[1]]
        register_parameter_at(self, self.text_names[0], ctx)
        for name in self.vision_names:
            register_parameter_at(self, name, normal_init(settings.n_ctx_vision, visual.width))
        for name in self.text_names[1:]:
            register_parameter_at(self, name, normal_init(settings.n_ctx_text, clip_model.transformer.width))
        self.text = DeepText(clip_model, words, classnames, settings.n_ctx_text)
        self._teacher: Tensor | None = None

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of the four terms, and the logits s ``[B, C]``."""
        terms, logits = self.terms(images, labels)
        return torch.stack(list(terms.values())).sum(), logits

    @staticmethod
    def joint_losses(models: Sequence[Any], images: Tensor, labels: Sequence[Tensor]) -> Losses:
        """Return ``loss`` of S models, each of its images of ``[S, B, 3, H, W]`` and its labels ``[B]``."""
        first = models[0]
        start = ImageStart(first.clip_model.visual, images.flatten(0, 1))
        vision = stacked([model._prompts(model.vision_names) for model in models])
        f, f_0 = (x.unflatten(0, images.shape[:2]) for x in (start.feature(vision), start.frozen_feature()))
        w = first.text.features(stacked([model._prompts(model.text_names) for model in models]))
        found = (model.terms_of(*own) for model, *own in zip(models, f, w, f_0, labels, strict=True))
        return [(torch.stack(list(terms.values())).sum(), logits) for terms, logits in found]

    def terms(self, images: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the loss's terms with their weights, and the logits s ``[B, C]``."""
        start = ImageStart(self.clip_model.visual, images)
        w, f = self.class_features(), start.feature(self._prompts(self.vision_names))
        return self.terms_of(f, w, start.frozen_feature(), labels)

    def terms_of(self, f: Tensor, w: Tensor, f_0: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return what ``terms`` does, of image features ``[B, d]``, class features ``[C, d]`` and frozen f_0."""
        settings, w_0 = self.settings, l2_normalize(self.teacher())
        logits = cosine_logits(self.clip_model, f, w)
        log_p, log_t = (s.log_softmax(dim=-1) for s in (logits, cosine_logits(self.clip_model, f_0, w_0)))
        return {
            "ce": F.cross_entropy(logits, labels),
            "scl_text": settings.text_loss_weight * F.l1_loss(w, w_0),
            "scl_image": settings.image_loss_weight * F.l1_loss(f, f_0),
            "scl_logits": F.kl_div(log_p, log_t, reduction="sum", log_target=True) / logits.numel(),
        }, logits

    @torch.compiler.disable  # computed at the first step, and kept: no part of what a step repeats
    def teacher(self) -> Tensor:
        """Return the mean of the templates' features by the frozen text tower, none normalised, ``[C, d]``."""
        if self._teacher is None:
            each = [text_outputs(self.clip_model, fill(one, self.classnames)) for one in teacher_templates()]
            self._teacher = torch.stack(each).mean(dim=0)
        return self._teacher

    def class_features(self) -> Tensor:
        return self.text.features(self._prompts(self.text_names))

    def image_features(self, images: Tensor) -> Tensor:
        return ImageStart(self.clip_model.visual, images).feature(self._prompts(self.vision_names))

    def ignores_checkpoint_key(self, key: str) -> bool:
        of_teacher = key.removeprefix("prompt_learner.ZS_image_encoder.")
        if of_teacher != key:
            return of_teacher in self.clip_model.visual.state_dict()
        return is_class_buffer(key) or is_clip_tensor(key, self.clip_model)

    def _prompts(self, names: list[str]) -> list[Tensor]:
        return [self.get_parameter(name) for name in names]


def teacher_templates() -> list[str]:
    """Return CLIP's 80 templates of ImageNet, "a photo of a {}." moved to the front, the first 60."""
    others = imagenet_templates()
    others.remove(FIRST_TEMPLATE)
    return [FIRST_TEMPLATE, *others][:TEACHER_TEMPLATES]


def epoch_weights(epochs: int, mean: float, std: float) -> list[float]:
    """Return the normal density at epochs 1, 2, ..., normalised to sum 1."""
    steps = torch.arange(1, epochs + 1, dtype=torch.float64)
    return (-0.5 * ((steps - mean) / std) ** 2).softmax(dim=0).tolist()  # far from the mean a density would vanish


@TRAINER_REGISTRY.register()
class PromptSRC(CLIPTrainer):
    """Trainer of PromptSRC; after the last epoch the model is the average over epochs."""

    registered_name = "VLPromptLearner"
    shape_settings = ("N_CTX_VISION", "N_CTX_TEXT", "PROMPT_DEPTH_VISION", "PROMPT_DEPTH_TEXT")

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> PromptSRCModel:
        return PromptSRCModel(clip_model, classnames, cls.settings_of(cfg))

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """Yield a CLIP with the tokens of both towers inside, the text's first behind it if drawn; two plain CLIPs."""
        settings = model.settings
        first, *vision = (normal(model, name, INIT_STD) for name in model.vision_names)
        text = [normal(model, name, INIT_STD) for name in model.text_names[1:]]
        within = [("visual.conv1.weight", first)]
        for tower, tokens in (("visual.transformer", vision), ("transformer", text)):
            within += [(f"{tower}.resblocks.{i}.mlp.c_proj.bias", own) for i, own in enumerate(tokens, start=1)]
        yield from a_clip(model, *within)
        words = words_of_deep_text(settings.ctx_init, settings.n_ctx_text)
        yield from words_or(model, model.text_names[0], words, INIT_STD, cls.official_dtype(cfg))
        yield from (*a_clip(model), *a_clip(model))

    def build_model(self) -> None:
        """Build the model and an average over epochs, empty so far."""
        super().build_model()
        self.average = {name: torch.zeros_like(value) for name, value in self.model.state_dict().items()}

    def after_epoch(self) -> None:
        """Add the epoch's model to the average, which replaces the last one before that is tested and kept."""
        weight = epoch_weights(self.max_epoch, self.settings.gpa_mean, self.settings.gpa_std)[self.epoch]
        for name, value in self.model.state_dict().items():
            self.average[name] += weight * value
        if self.epoch + 1 == self.max_epoch:
            self.model.load_state_dict(self.average)
        super().after_epoch()

    def extra_state(self) -> dict[str, Any]:
        return {"average": self.average}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        for name, value in self.average.items():
            value.copy_(state["average"][name])
