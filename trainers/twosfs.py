"""2SFS: Rethinking Few-Shot Adaptation of Vision-Language Models in Two Stages (Farina et al., CVPR 2025).

First the LayerNorms of all blocks of both towers learn, with each class's text as the classifier; then the towers rest,
and a classifier Phi learns from the adapted text features t. With f the unit image feature and s = exp(logit_scale)

    stage 1: z_c = s f t_c,    stage 2: z_c = s f Phi_c / |Phi_c|,

and the mean cross-entropy in both. Images of the second stage are augmented anew. A class that was trained on is scored
by its row of Phi, found by its name, any other by its adapted text feature ("selective inference").

Facts of the authors' release: AdamW, a cosine per step from the learning rate to 1e-6 that begins anew with the second
stage, ``N_ITERS`` steps per shot whatever the number of classes, of which the share ``N_ITERS_FRAC``, cut off to whole
steps, is the first stage's. ``ln_pre``, ``ln_post`` and ``ln_final`` are frozen, though its README speaks of all
LayerNorms. Its validation images serve nothing. One prompt for all data sets. Its other modes (LoRA or biases in the
place of LayerNorms, one tower, upper layers) are not here. There each stage has a gradient scaler of its own, and a
step that it skips does not count; here one serves both, and it does.

The few-shot images are the run's own draw, CoOp's; the release has lists of its own. Cross-dataset runs are not the
authors'.

Shapes: B images, C classes, d joint width.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clip.class_prompts import ClassPrompts
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY
from dassl.optim import build_optimizer

from .settings import PHRASE
from .shared.cosine import cosine_logits, l2_normalize
from .shared.deep_prompts import check_vit, module_at
from .shared.features import row_of_each
from .shared.method import Method
from .shared.steps import PerShotTrainer
from .shared.templates import fill, prompt_tokens


class TwoSFSModel(Method):
    """The LayerNorms under CLIP's names, and ``classifier`` ``[C, d]``, Phi, which is zero in the first stage.

    Phi is no parameter of the module, as those are what the first stage learns.

    Args:
        clip_model: frozen CLIP with a ViT image tower.
        classnames: C names.
        prompts: one text per class.
    """

    changes_image_feature = True
    classifier: Tensor

    def __init__(self, clip_model: CLIP, classnames: Sequence[str], prompts: Sequence[str]):
        super().__init__(clip_model)
        visual = check_vit(clip_model, "TwoSFS")
        self.classnames, self.trained, self.second = list(classnames), list(classnames), False
        self.image_blocks, self.text_blocks = self._blocks("visual.transformer"), self._blocks("transformer")
        self.layout = ClassPrompts(prompt_tokens(prompts).to(clip_model.positional_embedding.device))
        self.register_buffer("classifier", torch.zeros(len(classnames), visual.output_dim))

    def _blocks(self, tower: str) -> list[Any]:
        """Return a tower's blocks with LayerNorms that learn, which are registered here."""
        blocks: list[Any] = []
        for i, block in enumerate(self.clip_model.get_submodule(f"{tower}.resblocks").children()):
            norms = {name: copy.deepcopy(getattr(block, name)).requires_grad_() for name in ("ln_1", "ln_2")}
            for name, norm in norms.items():
                module_at(self, f"{tower}.resblocks.{i}").add_module(name, norm)
            blocks.append(block.with_modules(**norms))  # type: ignore[operator]
        return blocks

    def set_stage(self, second: bool) -> None:
        """Say whether the loss is that of the second stage."""
        self.second = second
        self.classifier.requires_grad_(second)

    @torch.no_grad()
    def begin_second(self) -> None:
        """Enter the second stage: Phi starts from the adapted text features."""
        self.set_stage(True)
        self.classifier.copy_(self.text_features())

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the stage's cross-entropy and scores ``[B, C]``."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.second):
            f = self.image_features(images)
        w = l2_normalize(self.classifier) if self.second else self.text_features()
        scores = cosine_logits(self.clip_model, f, w)
        return F.cross_entropy(scores, labels), scores

    def image_features(self, images: Tensor) -> Tensor:
        """Return unit image features ``[B, d]``."""
        return l2_normalize(self.clip_model.visual(images, self.image_blocks))

    def text_features(self) -> Tensor:
        """Return t ``[C, d]``, of unit length."""
        out = self.layout.run(self.text_blocks, self.layout.embed(self.clip_model), last=True)
        return l2_normalize(self.clip_model.text_to_joint_space(out[0]))

    def class_features(self) -> Tensor:
        """Return unit class features ``[C, d]``: rows of Phi by name, once it has been learned, and t for the rest."""
        if not self.classifier.any():
            return self.text_features()
        rows = torch.tensor(row_of_each(self.classnames, self.trained), device=self.classifier.device)
        found = l2_normalize(self.classifier)[rows]
        return found if (rows >= 0).all() else torch.where(rows[:, None] >= 0, found, self.text_features())

    def fit_to(self, tensors: Mapping[str, Tensor], classnames: Sequence[str] | None) -> None:
        """Take on a checkpoint's classes."""
        self.trained = self.classnames if classnames is None else list(classnames)
        self.classifier = self.classifier.new_zeros(tensors.get("classifier", self.classifier).shape)


@TRAINER_REGISTRY.register()
class TwoSFS(PerShotTrainer):
    """Trainer of 2SFS, which is an alias of its name."""

    registered_name = "two_sfs"
    not_graphed = "its second stage is another computation than its first"

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> TwoSFSModel:
        """Return the model over these classes, with the release's prompt unless DATASET.TEMPLATE is given."""
        prompts = fill(cfg.DATASET.TEMPLATE or f"{PHRASE} {{}}.", classnames)
        return TwoSFSModel(clip_model, classnames, prompts)

    def build_optim(self) -> None:
        """Set one optimiser for both stages, as each leaves the other's tensors alone, and the first's schedule."""
        self.first_steps = int(self.steps * self.settings.n_iters_frac)
        self.optim = build_optimizer([*self.model.parameters(), self.model.classifier], self.cfg.OPTIM)
        self.sched = self.schedule(max(1, self.first_steps))

    def forward_backward(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Do a step; before the second stage's first one, enter it."""
        step = self.epoch * self.epoch_steps + self.batch_idx
        self.model.set_stage(step >= self.first_steps)
        if step == self.first_steps:
            self.begin_second()
        return super().forward_backward(batch)

    def begin_second(self) -> None:
        """Start Phi and its schedule."""
        print(f"Second stage: the classifier alone, {self.steps - self.first_steps} of {self.steps} steps")
        with self.autocast():
            self.model.begin_second()
        for group in self.optim.param_groups:
            group["lr"] = group["initial_lr"] = self.cfg.OPTIM.LR
        self.sched = self._scheds[self.registered_name] = self.schedule(self.steps - self.first_steps)
