"""Weights as people save them: every wrapper, prefix and average, what is left out, and what is refused by its name."""

from __future__ import annotations

import argparse
import itertools

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from clip.model import CLIP
from clip.state_dict import read_state_dict

torch.manual_seed(0)
WEIGHTS = CLIP(16, 16, 2, 64, 8, 7, 30, 64, 1, 1).state_dict()
OTHER = {key: value + 1 for key, value in WEIGHTS.items()}
SCALARS = {"epoch": 3, "optimizer": {"state": {0: {"step": torch.zeros(1)}}, "param_groups": []}, "best": 0.5}


def same(found, expected=WEIGHTS) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[k], v) for k, v in expected.items())


def prefixed(prefix, weights=WEIGHTS):
    return {prefix + key: value for key, value in weights.items()}


@pytest.fixture
def read(tmp_path, capsys):
    """``read(content)``: what is read of it, and the notes."""

    def function(content):
        torch.save(content, tmp_path / "w.pt")
        found = read_state_dict(tmp_path / "w.pt")
        return found, capsys.readouterr().out.replace(str(tmp_path / "w.pt"), "FILE")

    return function


@pytest.fixture
def refused(tmp_path):
    """``refused(content)``: the one line with which it is refused, without the file's name."""

    def function(content):
        path = tmp_path / "w.pt"
        torch.save(content, path)
        with pytest.raises(ValueError) as caught:
            read_state_dict(path)
        line = str(caught.value)
        assert line.startswith(str(path)) and "\n" not in line
        return line.removeprefix(str(path))

    return function


@pytest.mark.parametrize(
    "wrappers",
    ["state_dict", "model_state_dict", "model", "module", "model state_dict", "state_dict model", "model module model"],
)
def test_wrappers(wrappers, read):
    content = WEIGHTS
    for key in reversed(wrappers.split()):
        content = {**SCALARS, key: content}
    found, notes = read(content)
    assert same(found) and not notes


CHAINS = ["".join(chain) for n in (1, 2) for chain in itertools.permutations(("module.", "_orig_mod.", "clip."), n)]


@pytest.mark.parametrize("chain", [*CHAINS, "model.", "module._orig_mod.clip.", "model.model.", "module.module.model."])
def test_prefixes_in_any_nesting(chain, read):
    found, notes = read({"state_dict": prefixed(chain)})
    assert same(found) and not notes


def test_a_tower_that_was_compiled_by_itself(read):
    state = {key.replace("visual.", "visual._orig_mod."): value for key, value in WEIGHTS.items()}
    assert same(read(state)[0]) and same(read(prefixed("module.", state))[0])


def test_names_with_and_without_the_compilers_prefix(refused):
    state = prefixed("clip.") | {"clip._orig_mod.ln_final.bias": torch.zeros(64)}
    assert refused(state) == ": it holds weights with and without '_orig_mod.' in their names: keep one of both"


@pytest.mark.parametrize("average", ["state_dict_ema", "ema", "model_ema"])
@pytest.mark.parametrize("own", ["state_dict", "model"])
def test_an_average_beside_the_weights_is_not_read_and_said(own, average, read):
    found, notes = read({**SCALARS, average: OTHER, own: WEIGHTS})
    assert same(found)
    assert notes == f"note: FILE: it holds the weights '{own}' and their average '{average}': '{own}' is read\n"


def test_an_average_alone_is_read_and_said(read):
    found, notes = read({**SCALARS, "ema": {"module": WEIGHTS}})
    assert same(found) and notes == "note: FILE: it holds an average of weights only, 'ema': 'ema' is read\n"


def test_two_sets_of_weights(refused):
    line = "it holds weights under 'state_dict' and 'model': keep those that are meant, with "
    assert refused({"model": WEIGHTS, "state_dict": OTHER}) == f": {line}torch.save(checkpoint['state_dict'], FILE)"
    assert "under 'ema_model' and 'ema'" in refused({"ema": WEIGHTS, "ema_model": OTHER})


def test_a_wrappers_name_without_tensors_is_no_wrapper(read):
    assert same(read({"model": {"name": "ViT", "layers": 2}, "state_dict": WEIGHTS})[0])


def test_a_content_that_holds_itself_is_refused(refused):
    content = {"epoch": 3}
    content["model"] = content
    assert "'epoch' is of type int" in refused(content)


def test_what_stands_beside_clips_weights_is_left_out_by_name(read):
    head = {"classifier.weight": torch.zeros(3, 16), "classifier.bias": torch.zeros(3)}
    found, notes = read({"model": prefixed("module.clip.") | prefixed("module.", head)})
    assert same(found)
    left = "module.classifier.weight, module.classifier.bias"
    assert notes == f"note: FILE: CLIP's weights are those under 'module.clip.'; left out beside them: {left}\n"


def test_an_average_among_the_names_is_left_out_by_name(read):
    found, notes = read(prefixed("model.") | prefixed("ema_model.", OTHER))
    assert same(found) and f"ema_model.logit_scale and {len(WEIGHTS) - 3} more\n" in notes


@pytest.mark.parametrize("key", ["clip.ln_final.bias", "clip.visual.ln_pre.bias"])
def test_under_a_prefix_every_key_is_needed_and_no_other_taken(key, refused):
    state = prefixed("clip.")
    assert "clip.more" not in state and "more is unexpected" in refused(state | {"clip.more": torch.zeros(1)})
    del state[key]
    assert key.removeprefix("clip.") in refused(state | {"head.weight": torch.zeros(1)})


def test_without_a_prefix_nothing_is_left_out(refused):
    assert "head.weight is unexpected" in refused(WEIGHTS | {"head.weight": torch.zeros(2)})


def test_two_clips(refused):
    line = refused(prefixed("clip.") | prefixed("model.", OTHER))
    assert line == ": it holds 2 CLIPs, under 'clip.' and 'model.': keep one of them"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"args": argparse.Namespace(lr=1), "state_dict": {}}, "argparse.Namespace"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        ({"best": np.float64(1), "model": {}}, np.float64(1).__reduce__()[0].__module__ + ".scalar"),
    ],
    ids=["a namespace", "a whole module", "a NumPy number"],
)
def test_what_needs_more_than_tensors(content, named, refused):
    line = refused(content)
    assert line == (
        f" holds more than tensors ({named}), and objects are not unpickled: where it was made, save the tensors "
        'alone, by torch.save(model.state_dict(), FILE) or torch.save(checkpoint["state_dict"], FILE)'
    )


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("logit_scale logit_bias text_model.head.weight vision_model.head.probe", "it is a SigLIP (text_model.head."),
        ("logit_scale logit_bias visual.trunk.cls text.ln_final.bias", "it is a SigLIP (visual.trunk.cls)"),
        ("logit_scale visual.trunk.cls", "it is an open_clip model with an image tower of timm's (visual.trunk.cls)"),
        ("logit_scale visual.blocks.0.attn.q_bias", "it is an EVA-CLIP (visual.blocks.0.attn.q_bias)"),
        ("visual_encoder.cls_token text_decoder.bert.a", "it is a BLIP (visual_encoder.cls_token)"),
        ("logit_scale bert.encoder.a visual.proj", "it is a Chinese-CLIP (bert.encoder.a)"),
        ("prompt_learner.ctx prompt_learner.token_prefix", "it holds learned prompts (prompt_learner.ctx), not a CLIP"),
        ("ctx token_prefix token_suffix", "it holds learned prompts (ctx), not a CLIP: give its run's folder with"),
        (
            "backbone.a backbone.b head. head.d",
            "this is not a CLIP state dict: it has no 'text_projection' (its first keys: backbone.a, backbone.b, head.",
        ),
    ],
)
def test_what_is_not_clip_is_refused_by_name(keys, line, refused):
    state = {key: torch.zeros(2) for key in keys.split()}
    assert refused({"state_dict": prefixed("module.", state)}).startswith(f": {line}")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_not_finite_are_refused(value, dtype, tmp_path):
    state = {key: tensor.to(dtype, copy=True) for key, tensor in WEIGHTS.items()}
    state["ln_final.weight"][5] = value
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ValueError) as caught:
        read_state_dict(tmp_path / "w.safetensors")
    assert str(caught.value) == (
        f"{tmp_path}/w.safetensors: ln_final.weight holds NaN or infinity: the file is damaged, or its training "
        "diverged; get other weights"
    )


def test_all_tensors_that_are_not_finite_are_counted(refused):
    state = {key: value.clone() for key, value in prefixed("clip.").items()}
    for key in ("visual.proj", "ln_final.bias"):
        state[f"clip.{key}"].view(-1)[-1] = float("nan")
    assert ": visual.proj and ln_final.bias hold NaN or infinity: " in refused(state)
    state["clip.logit_scale"].fill_(float("inf"))
    assert "and 2 more tensors hold NaN or infinity: " in refused(state)


def test_infinities_of_what_is_no_weight_do_not_count(read):
    mask = {"attn_mask": torch.full((7, 7), float("-inf"))}
    found, _ = read(prefixed("clip.", WEIGHTS | mask) | {"ema": torch.tensor(float("nan"))})
    assert same(found)
