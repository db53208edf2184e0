"""Golden numbers of those who learn something within the towers, layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from yacs.config import CfgNode

from tools.goldens.numbers import Numbers
from trainers import rpo
from trainers.promptsrc import epoch_weights
from trainers.shared.context import clip_text_features
from trainers.shared.cosine import clip_image_features, cosine_logits, l2_normalize
from trainers.shared.deep_prompts import ImageStart
from trainers.shared.templates import fill


class MaPLe(Numbers):
    """Features of both towers."""

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        return super().before() | {"image_features": self.model.image_features(self.images)}


class RPO(MaPLe):
    """Features of both towers."""

    def literals(self, cfg: CfgNode) -> dict[str, Any]:
        """The prompt, with a mark where the class name goes."""
        return {"prompt": (cfg.DATASET.TEMPLATE or rpo.TEMPLATE).replace("{}", "_")}


class MultiModalAdapter(MaPLe):
    """Features of both towers, with the adapters and without."""

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        clip_model = self.model.clip_model
        prompts = fill(f"{self.cfg.TRAINER.MMADAPTER.TEXT_CTX_INIT} {{}}.", self.setting["classes"])
        frozen = {"text_features_clip": clip_text_features(clip_model, prompts)}
        return super().before() | frozen | {"image_features_clip": clip_image_features(clip_model, self.images)}


class ProVP(MaPLe):
    """Features, those of frozen CLIP, the loss's terms, and gradients by layer."""

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        model = self.model
        terms, _ = model.terms(self.images, self.labels)
        f_0 = ImageStart(model.clip_model.visual, self.images).frozen_feature()
        found = {f"loss/{name}": value for name, value in terms.items()}
        found |= {"image_features_clip": f_0, "logits_clip": cosine_logits(model.clip_model, f_0, model.text_features)}
        return super().before() | found

    def train(self) -> dict[str, np.ndarray]:
        """All methods' arrays, and the norm of each layer's gradient."""
        arrays, name = super().train(), f"{self.prefix}prompt_embeddings"
        return arrays | {f"gradnorm_layer/{name}": np.linalg.norm(arrays[f"grad/{name}"], axis=(1, 2))}


class PromptSRC(MaPLe):
    """Features, those of frozen CLIP and of the teacher, the loss's terms, and the average, each step an epoch."""

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        model = self.model
        terms, _ = model.terms(self.images, self.labels)
        f_0, w_0 = ImageStart(model.clip_model.visual, self.images).frozen_feature(), l2_normalize(model.teacher())
        found = {f"loss/{name}": value for name, value in terms.items()}
        found |= {"text_features_clip": w_0, "image_features_clip": f_0, "fixed_embeddings": model.teacher()}
        return super().before() | found | {"logits_clip": cosine_logits(model.clip_model, f_0, w_0)}

    def train(self) -> dict[str, np.ndarray]:
        """All methods' arrays, and the weights of the average."""
        node = self.cfg.TRAINER.PROMPTSRC
        weights = epoch_weights(self.setting["steps"], node.GPA_MEAN, node.GPA_STD)
        self.average = {name: torch.zeros_like(value) for name, value in self.model.state_dict().items()}
        self.weights = iter(weights)
        return super().train() | {"gpa_weights": np.array(weights)}

    def after_step(self) -> None:
        """Add to the average."""
        weight = next(self.weights)
        for name, value in self.model.state_dict().items():
            self.average[name] += weight * value

    def after(self) -> dict[str, Tensor]:
        """Scores of the last model, and of the average, which the model then is."""
        found = super().after()
        self.model.load_state_dict(self.average)
        found |= {f"gpa/{name}": value for name, value in self.average.items()}
        return found | {"eval_logits_gpa": super().after()["eval_logits"]}


class MMRL(Numbers):
    """Features and scores of both kinds, adapted and frozen."""

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        out = self.model(self.images)
        return out._asdict() | {"logits_fusion": self.model.fuse(out.logits, out.logits_rep)}

    def after(self) -> dict[str, Tensor]:
        """Scores after training, and the space."""
        found = {f"eval_{name}": value for name, value in self.before().items() if name.startswith("logits")}
        return found | {"final/compound_rep_tokens": self.model.representation_learner.compound_rep_tokens}


class MMRLpp(MMRL):
    """MMRL's arrays."""


class PLOT(Numbers):
    """Features of views and prompts, and the transport plans."""

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        image, text = self.model.image(self.images), self.model.class_features()
        return {
            "logits": self.model.logits(image, text),
            "image_features": image.each,
            "image_features_pool": image.mean,
            "text_features": text.each,
            "text_features_pool": text.mean,
            "transport": self.model.sinkhorn.plan(self.model.cosines(image, text)),
        }
