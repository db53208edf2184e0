"""Golden numbers of Tip-Adapter and Tip-Adapter-F."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clip.model import CLIP
from tools.goldens.recipe import arrays_of, fill
from trainers.base import unit
from trainers.features import Features, image_features, text_features
from trainers.tip_cache import SCALE, TipAdapterFModel, TipAdapterModel, accuracy_of, search
from trainers.tipadapter import ADAM_EPS


def build(setting: dict[str, Any], clip_model: CLIP) -> TipAdapterModel:
    """The cache over the setting's images."""
    config = setting["config"]
    kind = TipAdapterFModel if setting["method"] == "Tip_Adapter_F" else TipAdapterModel
    text = text_features(clip_model, setting["classes"], setting["templates"])
    model = kind(clip_model, setting["classes"], text, config["init_alpha"], config["init_beta"])
    labels = setting["cache_labels"]
    side = setting["clip"]["res"]
    passes = [
        _encode(model, fill(f"cache_images/{number}", (len(labels), 3, side, side), 1.0), labels, batch=7)
        for number in range(config["augment_epoch"])
    ]
    mean = torch.stack([found.values for found in passes]).mean(dim=0)
    model.set_cache(unit(mean), passes[0].labels)
    return model


def _encode(model: TipAdapterModel, images: Tensor, labels: list[int], batch: int) -> Features:
    def batches() -> Iterator[dict[str, Tensor]]:
        for start in range(0, len(images), batch):
            part = slice(start, start + batch)
            yield {"img": images[part], "label": torch.tensor(labels[part])}

    return image_features(model.clip_model, batches())


def _images(setting: dict[str, Any], name: str, sources: list[int]) -> Tensor:
    """Images near those of the first pass: 0.9 of the source's and 0.5 of fresh noise."""
    side = setting["clip"]["res"]
    first = fill("cache_images/0", (len(setting["cache_labels"]), 3, side, side), 1.0)
    return 0.9 * first[sources] + 0.5 * fill(name, (len(sources), 3, side, side), 1.0)


def _features(setting: dict[str, Any], model: TipAdapterModel, part: str) -> Features:
    images = _images(setting, f"{part}_images", setting["images"][f"{part}_from"])
    found = _encode(model, images, setting[f"{part}_labels"], batch=len(images))
    return Features(unit(found.values), found.labels)


def recompute(setting: dict[str, Any], model: Any) -> dict[str, np.ndarray]:
    """Cache, scores, and the search on validation images; for F after its training."""
    val, test = (_features(setting, model, part) for part in ("val", "test"))
    config = setting["config"]
    with torch.no_grad():
        keys = model.weight.t() if isinstance(model, TipAdapterFModel) else model.cache_keys
        arrays: dict[str, Any] = {
            "clip_weights": model.text.t(),
            "cache_keys": keys,
            "cache_values": F.one_hot(model.cache_labels, len(setting["classes"])).float(),
            "val_features": val.values,
            "test_features": test.values,
            "val_logits_zs": SCALE * val.values @ model.text.t(),
            "test_logits_zs": SCALE * test.values @ model.text.t(),
            "val_logits_init": model.logits(val.values),
            "logits": model.logits(test.values),
        }
    arrays = arrays_of(arrays)
    if isinstance(model, TipAdapterFModel):
        arrays |= _train(setting, model, test)
    found = search(model, val, config["search_scale"], config["search_step"])
    model.set_numbers(found.alpha, found.beta)
    with torch.no_grad():
        arrays |= arrays_of({"search_acc": found.grid, "test_logits_best": model.logits(test.values)})
    return arrays | {"best_beta_alpha": np.array([found.beta, found.alpha])}


def _train(setting: dict[str, Any], model: TipAdapterFModel, test: Features) -> dict[str, np.ndarray]:
    """The release's course: a cosine per step, the epoch that does best on the test images; leaves its weight."""
    batches = setting["f_batches"]
    parts = [_images(setting, f"f_images/{i}", batch["FROM"]) for i, batch in enumerate(batches)]
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=setting["optimizer"]["lr"],
        eps=ADAM_EPS,
        weight_decay=setting["optimizer"]["weight_decay"],
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, setting["train_epoch"] * len(batches))
    arrays: dict[str, Any] = {f"train_features/{i}": model.image_features(part) for i, part in enumerate(parts)}
    losses: list[float] = []
    rates, epochs, accuracies, weights = [], [], [], []
    for _ in range(setting["train_epoch"]):
        for images, batch in zip(parts, batches, strict=True):
            loss, scores = model.loss(images, torch.tensor(batch["labels"]))
            optimizer.zero_grad()
            loss.backward()
            if not losses:
                grad = {"gradnorm/weight": model.weight.grad.norm(), "grad/weight": model.weight.grad}  # type: ignore[union-attr]
                arrays |= arrays_of({"loss0": loss, "train_logits0": scores, **grad})
            losses.append(loss.item())
            rates.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            epochs.append(model.logits(test.values))
        accuracies.append(accuracy_of(model, test))
        weights.append(model.weight.detach().clone())
    best = int(np.argmax(accuracies))
    arrays |= {"eval_logits": epochs[-1], "eval_logits_epoch": torch.stack(epochs), "final/weight": weights[-1]}
    model.weight.data.copy_(weights[best])
    found = {name: value if isinstance(value, np.ndarray) else value.numpy() for name, value in arrays.items()}
    return found | {"losses": np.array(losses), "lr": np.array(rates), "best_epoch": np.array(best)}
