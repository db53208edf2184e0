"""DePT, plainly."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import trainers
from trainers.plugins.contract import parameter_groups, plug
from trainers.shared.cosine import cosine_distance

from ..shared.numbers import OPTIMIZERS, OPTIONS, Numbers
from ..shared.plain import Learned, Plain
from . import PlainAround, PluginReference


class PlainDePT(PlainAround):
    """The second branch of a host's features, of which ``learned`` has the tensors as ``DePT.NAME``."""

    def __init__(self, host: Plain, cfg: Any, names: list[str]):
        super().__init__(host, cfg, names)
        node = cfg.TRAINER.DEPT
        self.share, self.fused, self.film = node.LINEAR_PROBE_WEIGHT, node.TEST_TIME_FUSION, node.FILM_LINEAR_PROBE
        self.has_head = node.LINEAR_PROBE_TYPE == "linear"

    def transformed(self, learned: Learned, features: Tensor, side: str) -> Tensor:
        """Return a x + b, channel by channel."""
        name = f"DePT.film_lp_{side}"
        return learned[f"{name}.scale"] * features + learned[f"{name}.bias"] if self.film else features

    def head(self, learned: Learned, features: Tensor) -> Tensor:
        """Return W x + b."""
        return features @ learned["DePT.linear_probe_proj.weight"].t() + learned["DePT.linear_probe_proj.bias"]

    def second(self, learned: Learned, images: Tensor) -> Tensor:
        """Return the second branch's scores [B, C] of images."""
        v, t = self.raw_features(learned, images)
        image, text = self.transformed(learned, v, "img"), self.transformed(learned, t, "text")
        if self.has_head:
            return self.head(learned, image)
        return self.scale * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).t()

    def scores(self, learned: Learned, images: Tensor, class_features: Any, seen: bool = True) -> Tensor:
        """Return (1 - lambda) z_s + lambda z_c of the classes trained on, or z_s."""
        own = self.host.scores(learned, images, class_features, seen)
        share = self.share if self.fused else 1
        return (1 - share) * own + share * self.second(learned, images) if seen else own

    def loss(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """Return (1 - lambda) CE(z_s, y) + lambda CE(z_c, [y; y]) + the rest of the host's loss."""
        own = F.cross_entropy(self.host.logits(learned, images), labels)
        rest = self.host.loss(learned, images, labels) - own
        scores, wanted = self.second(learned, images), labels
        if self.has_head:
            text = self.transformed(learned, self.raw_features(learned, images)[1], "text")
            scores = torch.cat([self.head(learned, torch.stack([text[y] for y in labels])), scores])
            wanted = torch.cat([labels, labels])
        return (1 - self.share) * own + self.share * F.cross_entropy(scores, wanted) + rest


class Golden(Numbers):
    """Both branches' parts, before and after the steps, also on classes that were not trained on."""

    def learned(self) -> dict[str, torch.nn.Parameter]:
        """The learned tensors by their official names: the host's within ``prompt_learner``, DePT's at the top."""
        return {self._official(name): value for name, value in self.model.named_parameters()}

    def _official(self, name: str) -> str:
        own = name.removeprefix("DePT.")
        return own if own != name or name.startswith("prompt_learner.") else f"prompt_learner.{name}"

    def optimizer(self) -> torch.optim.Optimizer:
        """The setting's optimiser, with DePT's rate for its tensors."""
        numbers = self.setting["optimizer"]
        options = {key: numbers[key] for key in OPTIONS if key in numbers}
        groups = parameter_groups(self.plugged, numbers["lr"])
        rates = {id(value): group["lr"] for group in groups for value in group["params"]}
        for name, value in self.learned().items():
            if abs(rates[id(value)] - self.setting["lr_of"][name]) > 1e-9:
                raise ValueError(f"lr_of {name} is {self.setting['lr_of'][name]}: a run has {rates[id(value)]}")
        return OPTIMIZERS[numbers["name"].lower()](groups, **options)

    def before(self) -> dict[str, Tensor]:
        """The parts of the scores and of the loss, and the features with their lengths."""
        model, plugin, labels = self.model, self.model.DePT, self.labels
        t, v = model.raw_class_features(), model.raw_image_features(self.images)
        text, image = plugin.film_lp_text(t), plugin.film_lp_img(v)
        second = plugin.linear_probe_proj(torch.cat([text[labels], image]))
        found = super().before() | self._parts() | {"image_features": model.image_features(self.images)}
        found |= {"text_features_raw_norm": t.norm(dim=-1), "image_features_raw_norm": v.norm(dim=-1)}
        found |= {"logits_lp_train": second, "loss/ce_lp": F.cross_entropy(second, labels.repeat(2))}
        found["loss/ce_sim"] = F.cross_entropy(found["logits_sim"], labels)
        if (prior := getattr(model, "text_features_clip", None)) is not None:
            found |= {"text_features_clip": prior, "loss/kg": cosine_distance(model.class_features(), prior)}
        return found

    def after(self) -> dict[str, Tensor]:
        """The scores and their parts."""
        return super().after() | {f"eval_{name}": value for name, value in self._parts().items()}

    def _parts(self) -> dict[str, Tensor]:
        model, plugin, names = self.model, self.model.DePT, self.setting["new_classes"]
        parts = {"logits_sim": model.scores(self.images, model.class_features())}
        parts["logits_lp"] = plugin.linear_probe_proj(plugin.film_lp_img(model.raw_image_features(self.images)))
        kind, learned = trainers.load(self.cfg.TRAINER.NAME), model.state_dict()
        new = plug(kind.build_method(self.cfg, model.clip_model, names), self.cfg, names)
        new.fit_to(learned, self.setting["classes"])
        new.host.load_state_dict(learned)
        new.use_classes(False)
        return parts | {"logits_new": new.scores(self.images, new.class_features())}


def draw(pick: Any) -> dict[str, Any]:
    """Choose the branch's kind and its parts."""
    return {
        "TRAINER.DEPT.LINEAR_PROBE_TYPE": pick(["linear", "linear", "similarity"]),
        "TRAINER.DEPT.LINEAR_PROBE_WEIGHT": pick([0.7, 0.0, 1.0]),
        "TRAINER.DEPT.FILM_LINEAR_PROBE": pick([True, False]),
        "TRAINER.DEPT.TEST_TIME_FUSION": pick([True, False]),
    }


DePT = PluginReference(PlainDePT, hosts=("CoOp", "KgCoOp", "MaPLe"), draw=draw, numbers=Golden)
