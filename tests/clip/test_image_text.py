"""Models that open_clip computes: what they give is open_clip's, how they are named, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from functools import partial

import open_clip
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError
from PIL import Image
from safetensors.torch import load_file, save_file

import clip
from classify import zero_shot
from clip import image_text, open_clip_models
from clip.weights import find
from tests import image_text_toys as toys

CLASSES, TEMPLATE = ["dog", "cat", "a larger animal"], "a photo of a {}."
ALL = [name for name in open_clip.list_models() if open_clip_models.architecture(name).foreign]


@pytest.fixture
def folder(shared):
    """``folder(family)``: a toy model of it."""
    return lambda family: shared(family, partial(toys.write, family))


def pixels(count, side):
    torch.manual_seed(1)
    return torch.nn.functional.interpolate(torch.randn(count, 3, 4, 4), size=side, mode="bilinear")


@pytest.mark.parametrize("family", toys.FAMILIES)
@torch.no_grad()
def test_features_and_probabilities_are_open_clips(family, folder):
    """Of an image that is no square, with the model's own preprocessing; the bias of a sigmoid loss cancels."""
    path = folder(family)
    theirs, prepare, tokenizer = toys.of_open_clip(path)
    image = Image.fromarray((255 * pixels(1, 90)[0].permute(1, 2, 0).sigmoid()).byte().numpy()).resize((120, 70))
    classifier = zero_shot(str(path), CLASSES, "cpu", template=TEMPLATE)
    prepared, texts = prepare(image)[None], tokenizer([TEMPLATE.format(name) for name in CLASSES])
    assert torch.allclose(classifier.prepare(image), prepared[0], atol=1e-6)
    f, w = theirs.encode_image(prepared, normalize=True), theirs.encode_text(texts, normalize=True)
    torch.testing.assert_close(classifier.features(image), f, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(classifier.class_features, w, atol=1e-5, rtol=1e-5)
    assert (w[0] - w[1]).abs().max() > 1e-3, "features that hardly vary prove nothing"
    logits = theirs.logit_scale.exp() * f @ w.t() + (0 if theirs.logit_bias is None else theirs.logit_bias)
    torch.testing.assert_close(classifier.predict(image), logits.softmax(dim=-1), atol=1e-5, rtol=1e-5)
    model = classifier.method.clip_model
    for mine, reference in (
        (model.encode_image(prepared), theirs.encode_image(prepared, normalize=False)),
        (model.encode_text(model.tokenize([TEMPLATE])), theirs.encode_text(tokenizer([TEMPLATE]), normalize=False)),
    ):
        torch.testing.assert_close(mine, reference, atol=1e-5, rtol=1e-5)
    assert (model.logit_bias is not None) == (family == "siglip")
    assert (model.visual.projection is not None) == (family != "siglip")


@torch.no_grad()
def test_half_precision_is_autocast(folder):
    model = find(folder("coca")).build(torch.float32)
    images, texts = pixels(2, 32), model.tokenize(CLASSES)
    for name, given in (("encode_image", images), ("encode_text", texts)):
        model.dtype = torch.float32
        wanted = getattr(model, name)(given)
        for model.dtype in (torch.bfloat16, torch.float16):
            found = getattr(model, name)(given).float()
            assert 0 < (found - wanted).abs().max() < 0.05 * wanted.abs().max()


def test_from_the_hub(folder, monkeypatch, tmp_path):
    """Configuration and weights come from the repository, kept where asked for; without weights it says so."""
    calls, gone = [], set()

    def hub(repository, file, revision=None, cache_dir=None):
        calls.append((repository, file, cache_dir))
        path = folder("siglip") / file
        if file in gone or not path.is_file():
            raise EntryNotFoundError.__new__(EntryNotFoundError)  # its constructor wants an answer of the hub
        return str(path)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", hub)
    checkpoint = find("hf-hub:someone/a-model", tmp_path)
    assert checkpoint.path == folder("siglip") / "open_clip_model.safetensors" and checkpoint.preprocess.squash
    assert set(calls) == {("someone/a-model", path.name, tmp_path) for path in folder("siglip").iterdir()}
    gone.add("open_clip_model.safetensors")
    with pytest.raises(ValueError, match="hf-hub:someone/a-model holds neither open_clip_model.safetensors nor"):
        find("hf-hub:someone/a-model")
    gone.add("open_clip_config.json")
    with pytest.raises(ValueError, match="hf-hub:someone/a-model has no open_clip_config.json"):
        find("hf-hub:someone/a-model")


def test_a_folder_of_a_plain_clip_is_computed_here(tmp_path):
    """All methods are open to it."""
    from tests import open_clip_toys

    config = open_clip_toys.toy_config("ViT-B-32")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    model = open_clip.create_model(f"local-dir:{tmp_path}", load_weights=False)
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    checkpoint = find(tmp_path)
    assert not checkpoint.foreign and isinstance(checkpoint.build(torch.float32), clip.model.CLIP)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"visual.trunk.cls_token": None}, "these weights do not make a .*eva: visual.trunk.cls_token is missing"),
        ({"extra": torch.zeros(1)}, "these weights do not make a .*eva: extra is unexpected"),
        ({"text.text_projection": torch.zeros(64, 47)}, r"text.text_projection is \[64, 47\], not \[64, 48\]"),
        ({"logit_scale": torch.tensor(float("nan"))}, "logit_scale .*NaN"),
    ],
)
def test_weights_that_do_not_fit(change, line, folder, tmp_path):
    copy = tmp_path / "eva"
    shutil.copytree(folder("eva"), copy)
    file = copy / "open_clip_model.safetensors"
    tensors = {key: value for key, value in (load_file(file) | change).items() if value is not None}
    save_file(tensors, file)
    with pytest.raises(ValueError, match=f"^{re.escape(str(file))}: .*{line}"):
        find(copy).build(torch.float32)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "ViT-B-16-SigLIP/webli",
            "ViT-B-16-SigLIP needs the package transformers, for its hf_tokenizer_name timm",
        ),
        ("xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k", "needs the package transformers, for its hf_model_name xlm-"),
    ],
)
def test_missing_packages_are_named_before_a_download(name, line, monkeypatch):
    monkeypatch.setattr(image_text, "find_spec", lambda package: None)
    monkeypatch.setattr(open_clip_models, "weights", lambda *_: pytest.fail("nothing is to be downloaded"))
    with pytest.raises(ValueError, match=f"{line}.*: pip install transformers"):
        find(f"open_clip:{name}")


def test_clip_load_and_a_broken_configuration_are_refused(folder, tmp_path):
    with pytest.raises(
        ValueError, match="is not a CLIP as it is computed here: init_logit_bias is -10; .*; give a CLIP"
    ):
        clip.load(str(folder("siglip")))
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"embed_dim": 8}}')
    with pytest.raises(ValueError, match="open_clip_config.json has no model_cfg with embed_dim, vision_cfg, text_cfg"):
        find(tmp_path)


def test_a_longer_text_is_refused_not_cut(folder):
    tokenize = find(folder("coca")).build(torch.float32).tokenize
    assert tokenize(["dog " * 22]).shape == (1, 24)
    with pytest.raises(RuntimeError, match="is too long for context length 24"):
        tokenize(["dog " * 23])
    assert tokenize(["dog " * 23], truncate=True)[0, -1] == tokenize(["dog " * 22])[0, -1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_every_other_architecture_of_open_clip_is_built(name):
    """At full structure, without memory; those with packages that are missing are refused by name."""
    config = open_clip_models.architecture(name).config
    try:
        image_text.check_packages(name, config)
    except ValueError:
        assert not config["text_cfg"].get("hf_model_name") or pytest.skip("needs transformers")
    with torch.device("meta"):
        model = image_text._empty(name, config)
    tower = image_text.ImageTower(model, config["vision_cfg"].get("image_size", 224), config["embed_dim"])
    ends_in_more = config["vision_cfg"].get("timm_proj") in ("none", "mlp")  # SigLIP's, one of ConvNeXt's
    assert (tower.projection is None) == ends_in_more
    assert ends_in_more or tower.projection.out_features == config["embed_dim"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "MobileCLIP-S1"])
@torch.no_grad()
def test_real_architectures_give_open_clips_features(name, tmp_path, monkeypatch):
    torch.manual_seed(0)
    theirs = open_clip.create_model(name).eval()
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    plain = partial(open_clip.SimpleTokenizer, context_length=64 if "SigLIP" in name else 77)
    monkeypatch.setattr(image_text, "check_packages", lambda *_: None)  # SigLIP's tokenizer cannot be had offline
    monkeypatch.setattr(image_text, "_tokenizer", lambda _: plain())
    checkpoint = find(f"open_clip:{name}:{tmp_path / 'model.safetensors'}")
    assert checkpoint.preprocess == find_images(name)
    ours = checkpoint.build(torch.float32)
    images, texts = pixels(2, ours.visual.input_resolution), ours.tokenize(CLASSES).clamp_max(31_999)
    torch.testing.assert_close(ours.encode_image(images), theirs.encode_image(images), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.encode_text(texts), theirs.encode_text(texts), atol=1e-5, rtol=1e-5)


def find_images(name):
    """What open_clip's list says of an architecture's images."""
    tag = open_clip.list_pretrained_tags_by_model(name)[0]
    return open_clip_models.describe(f"open_clip:{name}/{tag}").preprocess
