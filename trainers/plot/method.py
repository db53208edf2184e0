"""PLOT: Prompt Learning with Optimal Transport (Chen et al., ICLR 2023), as its authors run it on ViTs (PLOT++).

N prompts with learned context and M views of an image, each with K = 2 learned tokens of its own, are compared by
optimal transport: S [M, N] holds the cosines of views and prompts, T is the entropic transport plan of cost 1 - S
(Sinkhorn, without gradient), and an image scores exp(logit_scale) sum(T * S) for a class. Both are four by default.

Facts of the release: a view's tokens stand at the image sequence's end, without a position, before the first LayerNorm.
The prompts' contexts start from the first N of a data set's four phrases (``phrases.py``); n, the length of all,
is the word count of the first. A longer phrase keeps its last words as they are; a shorter one takes the first token of
the class name into its context (ImageNet's third). Sinkhorn stops once the mean change over all pairs of the batch is
below ``THRESH``, so scores depend, slightly, on what else is in the batch.

Training has two stages. First the view tokens alone (MODEL_UPD vision), with the global scores exp(logit_scale) g t
added (TRADE_OFF), g and t being the means over views and prompts; then all, from there (MODEL_UPD joint). With
``TWO_STAGES`` a joint run does the first stage itself, in the folder ``vision_only`` of its own; ``PRETRAIN_DIR`` names
a finished one instead. The release does the first stage with seed 1 only and starts all seeds from it. It evaluates
PRETRAIN_DIR's weights under ``--eval-only``; here those of ``--model-dir``. Cross-dataset runs, which it does not
define, use ImageNet's phrases throughout. It works in half precision; here what is learned, and Sinkhorn, are float32.

Shapes: B images, C classes, M views of an image, N prompts of a class, n context vectors, d_v, d_t tower widths,
d joint width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clip.draws import Draw
from clip.layers import no_autocast
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY, build_trainer
from dassl.utils import set_random_seed

from ..shared import checkpoints
from ..shared.base import CLIPTrainer
from ..shared.context import INIT_STD, Context, ContextPrompts, is_class_buffer, word_vectors
from ..shared.cosine import at_least_float32, cosine_logits, l2_normalize
from ..shared.deep_prompts import check_vit, is_clip_tensor
from ..shared.method import IMAGE_FEATURE, Method
from ..shared.official_stream import a_clip, normal
from ..shared.templates import prompt_tokens
from .phrases import GENERAL, PHRASES
from .transport import FeatureSet, Sinkhorn


class PromptLearner(nn.Module):
    """What is learned, under the release's names: ``ctx`` ``[N, n, d_t]`` and ``ctx_vision`` ``[M, K, d_v]``.

    With ``vision_only`` the contexts stay as they are: part of the state, but not learned.
    """

    ctx: Tensor

    def __init__(self, clip_model: CLIP, phrases: Sequence[str], views: int, view_tokens: int, vision_only: bool):
        super().__init__()
        length = len(phrases[0].split())
        ctx = torch.stack([word_vectors(clip_model, phrase, length) for phrase in phrases])
        if vision_only:
            self.register_buffer("ctx", ctx)
        else:
            self.ctx = nn.Parameter(ctx)
        self.ctx_vision = nn.Parameter(INIT_STD * torch.randn(views, view_tokens, clip_model.visual.width))


class PLOTModel(Method):
    """The learned tensors over frozen CLIP.

    The contexts start from N ``phrases``; M is ``views``, K ``view_tokens``. ``vision_only`` learns the view tokens
    alone, ``trade_off`` adds the global scores.
    """

    def __init__(
        self,
        clip_model: CLIP,
        classnames: Sequence[str],
        phrases: Sequence[str],
        views: int = 4,
        vision_only: bool = False,
        trade_off: bool = False,
        sinkhorn: Sinkhorn | None = None,
        view_tokens: int = 2,
    ):
        super().__init__(clip_model)
        check_vit(clip_model, "PLOT (PLOT++)")
        self.vision_only, self.trade_off, self.sinkhorn = vision_only, trade_off, sinkhorn or Sinkhorn()
        self.prompt_learner = PromptLearner(clip_model, phrases, views, view_tokens, vision_only)
        self.prompts = _alike(clip_model, classnames, phrases)
        self._fixed_text: FeatureSet | None = None
        self.register_load_state_dict_post_hook(lambda *_: setattr(self, "_fixed_text", None))

    def class_features(self) -> FeatureSet:
        """Return features of all prompts of all classes; computed once where nothing of them is learned."""
        return self._constant_text() if self.vision_only else self._encode_text()

    @torch.compiler.disable  # what is kept must not lie in memory that a CUDA graph uses again
    def _constant_text(self) -> FeatureSet:
        if self._fixed_text is None:
            with torch.no_grad():
                self._fixed_text = self._encode_text()
        return self._fixed_text

    def _encode_text(self) -> FeatureSet:
        clip_model, ctx = self.clip_model, self.prompt_learner.ctx
        parts: list[Tensor] = [torch.empty(0)] * len(ctx)
        for which, prompts in self.prompts:
            x = prompts.embed(ctx[which])
            out = prompts.layout.run(clip_model.transformer.resblocks, x, last=True)
            for i, features in zip(which, clip_model.text_to_joint_space(out), strict=True):
                parts[i] = features
        return FeatureSet.of(torch.stack(parts))

    def image(self, images: Tensor) -> FeatureSet:
        """Return features of all views of the images."""
        visual = self.clip_model.visual
        first, *others = visual.transformer.resblocks
        with torch.no_grad():
            x = visual.embed(images)
        tokens = visual.ln_pre(self.prompt_learner.ctx_vision.to(x.dtype))
        if not others:
            return FeatureSet.of(self._read(first(_joined(x, tokens), rows=slice(0, 1))[:, 0]))
        with torch.no_grad():  # the same for all views
            projected = first.project(x)
        q, kv = (_joined(a, b) for a, b in zip(projected, first.project(tokens), strict=True))
        x = first.attend(_joined(x, tokens), q, kv)
        for block in others[:-1]:
            x = block(x)
        return FeatureSet.of(self._read(others[-1](x, rows=slice(0, 1))[:, 0]))

    def _read(self, outputs: Tensor) -> Tensor:
        """Return the features ``[M, B, d]`` of class tokens ``[M B, d_v]``."""
        return self.clip_model.visual.to_joint_space(outputs).unflatten(0, (len(self.prompt_learner.ctx_vision), -1))

    def logits(self, image: FeatureSet, text: FeatureSet) -> Tensor:
        """Return the logits ``[B, C]`` in float32."""
        with no_autocast(image.each):
            cosines, scale = self.cosines(image, text), at_least_float32(self.clip_model.logit_scale.exp())
            scores = scale * (self.sinkhorn.plan(cosines) * cosines).sum(dim=(-2, -1))
        return scores + cosine_logits(self.clip_model, image.mean, text.mean) if self.trade_off else scores

    def cosines(self, image: FeatureSet, text: FeatureSet) -> Tensor:
        """Return S ``[B, C, M, N]``."""
        pairs = image.each.flatten(0, 1) @ text.each.flatten(0, 1).t()
        return pairs.unflatten(1, text.each.shape[:2]).unflatten(0, image.each.shape[:2]).permute(1, 3, 0, 2)

    def scores(self, images: Tensor, class_features: FeatureSet) -> Tensor:
        return self.logits(self.image(images), class_features)

    def named_image_features(self, images: Tensor) -> dict[str, Tensor]:
        """Return the mean of an image's views."""
        return {IMAGE_FEATURE: self.image(images).mean}

    def one_feature_per_class(self, class_features: FeatureSet) -> Tensor:
        """Return the mean of a class's prompts."""
        return l2_normalize(class_features.mean)

    def ignores_checkpoint_key(self, key: str) -> bool:
        """Return True for tensors of CLIP, and for embeddings of the classes trained on.

        On ImageNet the release runs the text encoder on several GPUs, and so has ``module.`` in its names.
        """
        one_gpu = key.replace("text_encoder.module.", "text_encoder.", 1)
        return is_class_buffer(key) or is_clip_tensor(one_gpu, self.clip_model)


def _joined(x: Tensor, tokens: Tensor) -> Tensor:
    """Put each view's tokens ``[M, K, d]`` behind images ``[B, N, d]``, view by view: ``[M B, N + K, d]``."""
    views, images = len(tokens), len(x)
    behind = tokens[:, None].expand(-1, images, -1, -1)
    return torch.cat([x.expand(views, -1, -1, -1), behind], dim=2).flatten(0, 1)


def _alike(
    clip_model: CLIP, classnames: Sequence[str], phrases: Sequence[str]
) -> list[tuple[list[int], ContextPrompts]]:
    """Return groups of phrases with equal words after the context: their numbers, and their prompts."""
    length = len(phrases[0].split())
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, phrase in enumerate(phrases):
        row = prompt_tokens([phrase])[0]
        count = int(row.argmax()) - 1
        after = tuple(row[1 + length : 1 + count].tolist())
        groups.setdefault((min(count, length), *after), []).append(i)
    return [
        (which, ContextPrompts(clip_model, classnames, Context(phrases[which[0]], length))) for which in groups.values()
    ]


@TRAINER_REGISTRY.register()
class PLOT(CLIPTrainer):
    """Trainer of PLOT++; its official registry name is ``PLOTPP``, as is its node."""

    registered_name = "prompt_learner"
    shape_settings = ("M", "N")
    not_graphed = "how many iterations Sinkhorn has in a step depends on its values"

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> PLOTModel:
        """Return the model with the first N of the data set's phrases, in cross-dataset runs of ImageNet's."""
        settings = cls.settings_of(cfg)
        phrases = PHRASES.get("ImageNet" if cfg.TASK == "CD" else cfg.DATASET.NAME, GENERAL)[: settings.n]
        sinkhorn = Sinkhorn(settings.eps, settings.max_iter, settings.thresh)
        stage = settings.model_upd == "vision", settings.trade_off
        return PLOTModel(clip_model, classnames, phrases, settings.m, *stage, sinkhorn, view_tokens=settings.n_ctx_v)

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """Yield what PLOT++ draws: a CLIP; the tokens of the views."""
        yield from (*a_clip(model), normal(model, "prompt_learner.ctx_vision", INIT_STD, cls.official_dtype(cfg)))

    def before_train(self) -> None:
        """Start from the first stage, or go on from what was saved."""
        settings = self.settings
        if settings.pretrain_dir:
            self.load_stage(Path(settings.pretrain_dir))
        elif settings.model_upd == "joint" and settings.two_stages:
            self.load_stage(self.first_stage())
        super().before_train()

    def first_stage(self) -> Path:
        """Train the view tokens alone in a folder of their own, unless that is done; returns the folder."""
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.OUTPUT_DIR = str(Path(self.cfg.OUTPUT_DIR) / "vision_only")
        cfg.RESUME, cfg.TEST.NO_TEST = "", True
        cfg.TRAINER.PLOTPP.MODEL_UPD, cfg.TRAINER.PLOTPP.TRADE_OFF = "vision", True
        cfg.freeze()
        print("First stage: the view tokens alone")
        # The second stage goes on alike, whether the first was done before or not.
        with torch.random.fork_rng(devices=[]):
            if cfg.SEED >= 0:
                set_random_seed(cfg.SEED)
            stage = build_trainer(cfg)
            stage.made_by = self.made_by
            stage.train()
        print("Second stage: all")
        return Path(cfg.OUTPUT_DIR)

    def load_stage(self, source: Path) -> None:
        """Take a first stage's tensors from its checkpoint or from its run's folder. Raises as ``load_model`` does."""
        path = source if source.is_file() else checkpoints.find(source / self.registered_name)
        tensors, about = checkpoints.read(path)
        if "method" in about:
            checkpoints.check_fits(path, about, self.about(), self.settings.path, self.shape_settings)
        checkpoints.load_learned(self.model, tensors, path)
        print(f"Start from {path}")
