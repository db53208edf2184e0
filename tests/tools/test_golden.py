"""The golden tool builds what a run builds: every method, its data set's prompts, and one line for what it refuses."""

from __future__ import annotations

import json
import sys
from functools import cache

import numpy as np
import pytest
import torch

from clip.model import build_model
from reference.shared.recipe import clip_weights, fill, images_of
from tests.agreement import setting_of
from tools import golden
from tools.golden import build, configuration, method_of
from trainers.shared.context import clip_text_features
from trainers.shared.cosine import l2_normalize

CLIP = {"embed": 32, "res": 32, "patch": 16, "vw": 64, "vl": 2, "tw": 64, "tl": 2}
CLASSES = ["american_bulldog", "pug"]
IMAGENET = (
    "itap of a {}",
    "a bad photo of the {}",
    "a origami {}",
    "a photo of the large {}",
    "a {} in a video game",
    "art of the {}",
    "a photo of the small {}",
    "a photo of a {}",
)


@cache
def weights() -> dict:
    return clip_weights(CLIP)


@pytest.fixture(autouse=True)
def one_clip(monkeypatch):
    """The recipe's CLIP, filled once."""
    monkeypatch.setattr(golden, "clip_weights", lambda sizes: weights())


def small(method: str, **more) -> dict:
    """A setting of a CLIP with two layers; its learned tensors are those of the method."""
    setting = {"method": method, "clip": CLIP, "classes": CLASSES, "dataset": "OxfordPets", "labels": [1, 0, 1]}
    optimizer = {"name": "sgd", "lr": 0.01, "momentum": 0.9}
    setting |= {"batch": 3, "steps": 2, "optimizer": optimizer, "config": {}} | more
    model = build(setting, configuration(setting))
    return {"trainable": {name: list(value.shape) for name, value in model.named_parameters()}} | setting


def frozen_texts(prompts: list[str]) -> torch.Tensor:
    return clip_text_features(build_model(weights(), dtype=torch.float32), prompts)


def test_metaprompts_eight_templates_of_imagenet():
    setting = small("Meta_B2N", dataset="ImageNet", class_orders=[[1, 0], [0, 1]], config={"layers": 2})
    each = [frozen_texts([template.format(name) for name in CLASSES]) for template in IMAGENET]
    assert np.allclose(
        golden.recompute(setting)["text_features_clip"], l2_normalize(torch.stack(each).mean(dim=0)), atol=1e-6
    )


@pytest.mark.parametrize(
    ("dataset", "prompt"),
    [("UCF101", "a photo of a person doing {}."), ("OxfordPets", "a type of pet, a photo of a {}.")],
)
def test_provps_prompts_within_its_list_and_without(dataset, prompt):
    found = golden.recompute(small("ProVP", dataset=dataset))
    want = frozen_texts([prompt.format(name.replace("_", " ")) for name in CLASSES])
    assert np.allclose(found["text_features"], want, atol=1e-6) and np.isfinite(found["losses"]).all()


@pytest.mark.parametrize("method", ["ProDA", "ZeroshotCLIP", "ZeroshotCLIP2"])
def test_methods_without_golden_numbers(method):
    found = golden.recompute(small(method))
    assert found["logits"].shape == found["eval_logits"].shape == (3, 2)
    learns = method == "ProDA"
    assert np.array_equal(found["logits"], found["eval_logits"]) is not learns and ("losses" in found) is learns


def test_tensors_that_no_step_learns_are_filled_by_name():
    setting = small("LinearProbe", frozen_filled={"coef": [2, 32], "intercept": [2]}, fill_std={"coef": 0.5})
    features = build_model(weights(), dtype=torch.float32).encode_image(images_of(setting))
    want = features @ fill("coef", [2, 32], 0.5).t() + fill("intercept", [2], 0.02)
    assert np.allclose(golden.recompute(setting)["logits"], want.detach(), atol=1e-5)


def test_every_setting_names_a_method_and_resolves_to_its_numbers():
    names = {method_of({"method": name}) for name in ("CLIP_Adapter", "Tip_Adapter", "Tip_Adapter_F", "PLOTPP", "MMA")}
    assert names == {"CLIPAdapter", "TipAdapter", "TipAdapterF", "PLOT", "MultiModalAdapter"}
    node = configuration(setting_of("mmrlpp")).TRAINER.MMRLpp
    assert (node.N_REP_TOKENS, node.REP_LAYERS, node.BETA, node.FUSION) == (3, [8, 9, 10, 11, 12], 0.4, "logits")
    assert configuration(setting_of("clip_adapter")).TRAINER.CLIPADAPTER.REDUCTION == 4  # "reduction (literal)"
    assert configuration(setting_of("prograd")).LOSS.LAMBDA == 1.0


def test_a_template_that_is_not_the_methods_own_goes_in_as_a_users():
    assert configuration(setting_of("provp")).DATASET.TEMPLATE == ""  # its own table has it
    other = setting_of("clip_adapter") | {"template": "a drawing of {}."}
    assert configuration(other).DATASET.TEMPLATE == "a drawing of {}."
    one = setting_of("tip_adapter") | {"dataset": None}
    assert configuration(one).DATASET.TEMPLATE == one["templates"][0]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"method": "CLOP"}, "method is 'CLOP': this tool knows CoOp, CoCoOp, "),
        ({"labels": None}, "there is no 'labels' in it"),
        ({"trainable": {"ctx": [3, 64]}}, "learned tensors differ from the setting's: ctx"),
        ({"frozen_filled": {"ctx": [16, 64]}}, "tensors of frozen_filled differ from the setting's: ctx"),
        ({"config": {"n_ctx": "many"}}, "setting: TRAINER.COOP.N_CTX must be int, such as 16, not 'many'"),
    ],
)
def test_refused_in_one_line(change, line, tmp_path, monkeypatch, capsys):
    path = tmp_path / "setting.json"
    setting = {key: value for key, value in (small("CoOp") | change).items() if value is not None}
    path.write_text(json.dumps(setting))
    monkeypatch.setattr(sys, "argv", ["golden.py", str(path), str(tmp_path / "out.npz")])
    assert golden.main() == 1 and not (tmp_path / "out.npz").exists()
    said = capsys.readouterr().err
    assert said.startswith(f"error: {path}: {line}") and said.count("\n") == 1
