"""MMA: its gradients' scale, initial values and settings, and what is refused."""

from __future__ import annotations

from pathlib import Path

import torch

import train
import trainers
from clip.model import CLIP, build_model
from reference.shared import toy
from tests.agreement import relative
from tests.runs.resolved import resolve
from trainers import mma
from trainers.mma import MMAModel
from trainers.settings import MMASettings

CONFIGS = Path(train.__file__).parent / "configs"


def test_gradients_are_those_of_scale_one():
    """Halving s halves what the adapters add, and leaves their gradients (nearly) as they are."""
    weights = toy.clip_weights(0, vocabulary=49408)
    images, labels = torch.randn(2, 3, 16, 16), torch.tensor([0, 1])
    found = []
    for scale in (1e-3, 5e-4):
        torch.manual_seed(0)
        model = MMAModel(build_model(weights, torch.float32), ["a dog", "a red cat"], MMASettings(2, 3, 4, scale))
        model.loss(images, labels)[0].backward()
        found.append(torch.cat([value.grad.flatten() for value in model.parameters()]))
    assert found[0].norm() > 0 and relative(found[0], found[1]) < 0.02


def test_number_of_learned_parameters_is_the_papers():
    """Table 6: 0.675M for ViT-B/16 (674,560)."""
    with torch.device("meta"):
        clip_model = CLIP(512, 224, 12, 768, 16, 77, 100, 512, 8, 12)
        parts = MMAModel.learned(MMASettings(5, 12, 32, 0.001), clip_model)
    assert sum(p.numel() for part in parts for p in part.parameters()) == 674_560


def test_initial_values():
    """N(0, 2 / fan_out) everywhere, biases zero, the map up included."""
    torch.manual_seed(0)
    adapters = mma._drawn({"5": mma.Adapter(512, 32)})["5"]
    assert abs(adapters.down[0].weight.std().item() - 0.25) < 0.01
    assert abs(adapters.up.weight.std().item() - 0.0625) < 0.003
    assert adapters.up.bias.count_nonzero() == adapters.down[0].bias.count_nonzero() == 0


def test_the_short_name_is_the_same_method():
    cfg = resolve("MultiModalAdapter", "vit_b16_ep5", "imagenet", "TRAINER.NAME", "MMA")
    assert cfg.TRAINER.NAME == "MultiModalAdapter"
    assert trainers.load(trainers.ALIASES["MMA"]) is mma.MultiModalAdapter
