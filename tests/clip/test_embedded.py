"""The committed small CLIP: what is in its file, what it knows, and that its script still runs."""

from __future__ import annotations

import json
import os
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import normalize

from clip import clip, weights
from clip.model import CLIP
from clip.state_dict import read_state_dict
from clip.weights import resolve
from tests.damage import spread_flips

DIGITS = "zero one two three four five six seven eight nine".split()
PATH = resolve("embedded")


@pytest.fixture(scope="module")
def loaded():
    return clip.load("embedded", device="cpu")


@pytest.fixture(scope="module")
def digits(loaded) -> tuple[Tensor, Tensor]:
    """Unit image features ``[1797, d]`` of the real digits, and their labels."""
    model, preprocess = loaded
    data = load_digits()
    pixels = np.round(data.images * (255 / 16)).astype(np.uint8)
    images = torch.stack([preprocess(Image.fromarray(p)) for p in pixels])
    with torch.no_grad():
        return normalize(model.encode_image(images).float(), dim=1), torch.from_numpy(data.target)


def text_features(model: CLIP, texts: list[str]) -> Tensor:
    with torch.no_grad():
        return normalize(model.encode_text(clip.tokenize(texts)).float(), dim=1)


def test_file_is_small_half_precision_and_says_what_it_is():
    assert PATH.stat().st_size < 10e6
    with PATH.open("rb") as file:
        about = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))["__metadata__"]
    assert about["tool"] == "tools/pretrain_embedded.py" and {"description", "version", "license", "seed"} <= set(about)
    tensors = load_file(PATH)
    assert {v.dtype for k, v in tensors.items() if k != "token_embedding.ids"} == {torch.float16}
    assert all(v.isfinite().all() for v in tensors.values())


def test_damage_is_noticed(tmp_path, monkeypatch):
    """A bit flipped in each fortieth of the file and at both ends, and cuts; safetensors holds no checksum itself."""
    copy, whole = tmp_path / PATH.name, PATH.read_bytes()
    copy.write_bytes(whole)
    monkeypatch.setattr(weights, "__file__", str(tmp_path / "weights.py"))
    line = f"{copy} is damaged or missing: it is not the file that comes with this project; get that again "

    def refused() -> bool:
        with pytest.raises(ValueError) as caught:
            weights.find("embedded")
        return str(caught.value).startswith(line)

    for place, bit in spread_flips(len(whole), 40):
        with copy.open("r+b") as file:
            for byte in (whole[place] ^ bit, whole[place]):
                file.seek(place)
                file.write(bytes([byte]))
                file.flush()
                assert byte == whole[place] or refused()
    for kept in (len(whole) - 1, len(whole) // 2, 8, 0):
        os.truncate(copy, kept)
        assert refused()
    copy.unlink()
    with pytest.raises(ValueError, match="embedded.safetensors is damaged or missing"):
        weights.find("embedded")
    copy.write_bytes(whole)
    assert weights.find("embedded").path == copy


def test_shape(loaded):
    model, _ = loaded
    assert (model.visual.input_resolution, model.visual.patch_size, model.visual.width) == (32, 8, 128)
    assert (model.visual.transformer.layers, model.transformer.layers, model.transformer.width) == (6, 6, 128)
    assert (model.context_length, model.vocab_size, model.visual.output_dim) == (77, 49408, 128)
    assert model.logit_scale.exp().item() == pytest.approx(100, rel=1e-3)


def test_vocabulary_has_the_words_of_templates_and_class_names():
    rows = read_state_dict(PATH)["token_embedding.weight"]
    tokens = clip.tokenize(["a photo of the digit zero.", "the capital letter z", "an origami star.", "x x x x nine."])
    assert rows[tokens[tokens > 0].long()].abs().sum(1).min() > 0
    assert 200 < (rows.abs().sum(1) > 0).sum() < 1000


@pytest.mark.parametrize(
    "classes,low,high", [(range(10), 0.40, 0.75), (range(5), 0.50, 0.90), (range(5, 10), 0.45, 0.85)]
)
def test_zero_shot_on_the_real_digits_is_above_chance_and_leaves_room(loaded, digits, classes, low, high):
    features, labels = digits
    texts = text_features(loaded[0], [f"a photo of the digit {DIGITS[c]}." for c in classes])
    kept = torch.isin(labels, torch.tensor(list(classes)))
    predicted = (features[kept] @ texts.t()).argmax(1) + classes[0]
    assert low < (predicted == labels[kept]).float().mean() < high


def test_sixteen_shots_of_its_features_reach_further(digits):
    features, labels = digits
    shots = torch.cat([(labels == c).nonzero()[:16, 0] for c in range(10)])
    targets = torch.nn.functional.one_hot(labels[shots]).float()
    centre = features[shots].mean(0)
    ridge = torch.linalg.solve(
        (features[shots] - centre) @ (features[shots] - centre).t() + 0.01 * torch.eye(160), targets - 0.1
    )
    scores = (features - centre) @ ((features[shots] - centre).t() @ ridge)
    rest = torch.ones(len(labels), dtype=torch.bool)
    rest[shots] = False
    assert (scores[rest].argmax(1) == labels[rest]).float().mean() > 0.8


def test_every_caption_is_made_of_stored_words():
    from tools.pretrain_embedded import build_captions

    captions = build_captions()
    assert torch.equal(captions.ids, load_file(PATH)["token_embedding.ids"])
    assert captions.shows.sum(1).allclose(torch.ones(len(captions.shows)))
    for texts in captions.texts[::9]:
        assert torch.isin(clip.tokenize(texts[::5]).long(), captions.ids).all()


@pytest.mark.slow
def test_script_runs_through_and_its_file_loads(tmp_path):
    from tools.pretrain_embedded import Steps, pretrain, save

    tensors = pretrain(Steps(image=2, text=2, joint=2, batch=8), seed=3)
    save(tensors, tmp_path / "small.safetensors", seed=3)
    assert {k: v.shape for k, v in tensors.items()} == {k: v.shape for k, v in load_file(PATH).items()}
    model, _ = clip.load(str(tmp_path / "small.safetensors"), device="cpu")
    assert model.encode_text(clip.tokenize("the digit one")).isfinite().all()
