"""open_clip's names: what is taken, what is refused and why, where files come from, and what they compute."""

from __future__ import annotations

import http.server
import logging
import re
import threading

import numpy as np
import open_clip
import open_clip.pretrained
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

import clip
from clip import open_clip_models
from clip.shape import OPENAI, OPENAI_IMAGES, Computation, Preprocess
from clip.weights import find
from tests import open_clip_toys as toys

NAMES = open_clip.list_pretrained()
# The computation differs from CLIP's in one of these, whatever else a configuration says.
FOREIGN = (
    "timm_model_name hf_model_name multimodal_cfg no_ln_pre attentional_pool no_causal_mask embed_cls init_logit_bias "
    "hf_tokenizer_name context_length vocab_size ls_init_value final_ln_after_pool proj_bias pool_type"
).split()


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """``toy(arch)``: the name of a toy architecture like ``arch``, open_clip's model of it, and its file."""

    def make(arch, **vision):
        name = f"toy-{arch}"
        toys.register(monkeypatch, name, toys.toy_config(arch, **vision))
        path = tmp_path / f"{name}.safetensors"
        return name, toys.write_model(name, path), path

    return make


@pytest.mark.filterwarnings("error")
def test_every_name_is_taken_or_refused_with_its_reason(capfd, caplog):
    caplog.set_level(logging.DEBUG)
    taken = set()
    for arch, tag in NAMES:
        config = open_clip.get_model_config(arch)
        keys = {*config, *config["vision_cfg"], *config["text_cfg"]}
        model = open_clip_models.describe(f"open_clip:{arch}/{tag}")
        assert isinstance(model.preprocess, Preprocess) and model.side == config["vision_cfg"].get("image_size", 224)
        if model.foreign:
            assert keys & set(FOREIGN) and any(key in model.foreign for key in FOREIGN) and model.config == config
            continue
        assert not keys & {"timm_model_name", "hf_model_name", "multimodal_cfg", "hf_tokenizer_name", "pool_type"}
        assert 64 <= model.computation.vision_head_width <= 112
        taken.add(f"{arch}/{tag}")
    assert capfd.readouterr() == ("", "") and not caplog.records
    assert {"ViT-B-16/laion2b_s34b_b88k", "ViT-H-14/laion2b_s32b_b79k", "ViT-bigG-14/laion2b_s39b_b160k"} <= taken
    assert {"ViT-B-32/openai", "ViT-L-14-336/openai", "RN50x64/openai", "ViT-g-14/laion2b_s34b_b88k"} <= taken
    assert len(taken) >= 96


@pytest.mark.parametrize(
    ("name", "computation", "preprocess"),
    [
        ("ViT-B-16/laion2b_s34b_b88k", Computation(quick_gelu=False), OPENAI_IMAGES),
        ("ViT-B-16/openai", OPENAI, OPENAI_IMAGES),  # the architecture says GELU, the tag knows better
        ("ViT-B-32-quickgelu/laion400m-e32", OPENAI, OPENAI_IMAGES),
        ("ViT-L-14/laion2b_s32b_b82k", Computation(False), Preprocess((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))),
        ("ViT-H-14/laion2b_s32b_b79k", Computation(False, 80), OPENAI_IMAGES),
        ("ViT-H-14-378/dfn5b", Computation(True, 80), Preprocess(squash=True)),
        ("ViT-bigG-14/laion2b_s39b_b160k", Computation(False, 104), OPENAI_IMAGES),
    ],
)
def test_computation_and_images_of_known_weights(name, computation, preprocess):
    arch, tag, is_file = open_clip_models.split(f"open_clip:{name}")
    assert not is_file
    found = open_clip_models.pretrained_use(open_clip_models.architecture(arch), tag)
    assert found[:2] == (computation, preprocess)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("open_clip:", "'open_clip:' names no weights: give open_clip:ARCH/PRETRAINED or open_clip:ARCH:FILE"),
        ("open_clip:ViT-B-16", "'open_clip:ViT-B-16' names no weights"),
        ("open_clip:ViT-B-61/openai", "open_clip has no architecture 'ViT-B-61'; did you mean ViT-B-16"),
        ("open_clip:ViT-B/16/openai", "open_clip has no architecture 'ViT-B/16'; did you mean ViT-B-16"),
        (
            "open_clip:ViT-B-16/laion2b",
            "open_clip has no weights 'laion2b' of ViT-B-16; did you mean laion2b_s34b_b88k?",
        ),
        ("open_clip:ViT-B-16/openia", "open_clip has no weights 'openia' of ViT-B-16; did you mean openai?; it has"),
        ("open_clip:ViT-B-16:gone.pt", "there is no weights file gone.pt"),
        ("open_clip:EVA02-B-16:gone.pt", "there is no weights file gone.pt"),
        ("hf-hub:BiomedCLIP", "'hf-hub:BiomedCLIP' names no model of the hub: give hf-hub:OWNER/NAME"),
    ],
)
def test_bad_names(name, line):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        find(name)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("vision_cfg", "ls_init_value", 1e-4),
        ("vision_cfg", "attentional_pool", True),
        ("vision_cfg", "pool_type", "avg"),
        ("vision_cfg", "image_size", 225),
        ("vision_cfg", "act_kwargs", {"approximate": "tanh"}),
        ("vision_cfg", "something_new", 3),
        ("text_cfg", "embed_cls", True),
        ("text_cfg", "no_causal_mask", True),
        ("text_cfg", "pool_type", "eos"),
        ("text_cfg", "proj_bias", True),
        ("text_cfg", "context_length", 64),
        ("text_cfg", "hf_tokenizer_name", "bert-base-uncased"),
    ],
)
def test_what_is_not_understood_is_left_to_open_clip(part, key, value, monkeypatch):
    config = open_clip.get_model_config("ViT-B-16")
    config[part][key] = value
    toys.register(monkeypatch, "odd", config)
    assert f"{part}.{key}" in open_clip_models.architecture("odd").foreign


def images(count, side):
    """Noise over coarse colours: white noise alone gives nearly the same features to all images."""
    coarse = torch.nn.functional.interpolate(torch.randn(count, 3, 4, 4), size=side, mode="bilinear")
    return coarse + 0.3 * torch.randn(count, 3, side, side)


@torch.no_grad()
def compare(name, theirs, path, side):
    ours, preprocess = clip.load(f"open_clip:{name}:{path}", device="cpu")
    assert ours.visual.input_resolution == side and preprocess(Image.new("RGB", (30, 40))).shape == (3, side, side)
    pixels, tokens = images(2, side), clip.tokenize(["a photo of a dog.", "long " * 60, ""])
    for mine, reference in (
        (ours.encode_image(pixels), theirs.encode_image(pixels)),
        (ours.encode_text(tokens), theirs.encode_text(tokens)),
    ):
        assert (reference[0] - reference[1]).abs().max() > 0.05, "features that hardly vary prove nothing"
        torch.testing.assert_close(mine, reference, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", toys.SHAPES)
def test_features_are_open_clips(shape, toy):
    arch, vision = toys.SHAPES[shape]
    name, theirs, path = toy(arch, **vision)
    compare(name, theirs, path, open_clip.get_model_config(name)["vision_cfg"]["image_size"])


def test_features_with_wider_mlps_are_open_clips(toy):
    """bigG's MLP is 4.92 times as wide as its image tower."""
    name, theirs, path = toy("ViT-bigG-14", layers=3, width=208)
    assert theirs.visual.transformer.resblocks[0].mlp.c_fc.weight.shape == (1024, 208)
    compare(name, theirs, path, 224)


@pytest.mark.parametrize(
    ("arch", "difference"),
    [
        ("ViT-B-16", "vision_patch_size is 32, not 16"),
        ("ViT-L-14", "vision_layers is 12, not 24; vision_patch_size is 32, not 14"),
    ],
)
def test_file_of_another_architecture_is_refused(arch, difference, toy, monkeypatch):
    _, _, path = toy("ViT-B-32")
    toys.register(monkeypatch, "other", toys.toy_config(arch))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} does not hold a other: {difference}$"):
        clip.load(f"open_clip:other:{path}", device="cpu")


def test_file_of_an_architecture_that_it_cannot_be(toy, monkeypatch):
    """A ResNet's file has no patches at all."""
    _, _, path = toy("RN50", width=10, layers=[1, 2, 2, 1], image_size=96)
    toys.register(monkeypatch, "other", toys.toy_config("ViT-B-32"))
    with pytest.raises(ValueError, match="vision_patch_size is None, not 32; vision_mlp_width is None, not 256$"):
        clip.load(f"open_clip:other:{path}", device="cpu")


def test_bare_file_is_taken_as_openais(toy):
    _, theirs, path = toy("ViT-B-32")
    checkpoint = find(path)
    assert checkpoint.assumed and checkpoint.computation == OPENAI and checkpoint.preprocess is None
    tokens = clip.tokenize(["a photo of a dog."])
    with torch.no_grad():
        difference = checkpoint.build(torch.float32).encode_text(tokens) - theirs.encode_text(tokens)
    assert difference.abs().max() > 1e-3, "QuickGELU and GELU must differ"


def publish(monkeypatch, name, **where):
    """Add weights ``tag`` of a toy architecture to open_clip's list."""
    entry = open_clip.pretrained._pcfg(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), interpolation="bilinear", **where)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, {"tag": entry})
    return f"open_clip:{name}/tag"


def test_download_from_the_hub(toy, monkeypatch, tmp_path):
    name, theirs, path = toy("ViT-B-32")
    calls = []

    def hub(repo_id, filename, revision=None, cache_dir=None):
        calls.append((repo_id, filename, cache_dir))
        return str(path)

    monkeypatch.setattr(open_clip.pretrained, "hf_hub_download", hub)
    full = publish(monkeypatch, name, hf_hub="someone/some-model/")
    checkpoint = find(full, tmp_path / "cache")
    assert checkpoint.path == path and not checkpoint.assumed
    assert checkpoint.preprocess == Preprocess((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bilinear")
    assert calls == [("someone/some-model", "open_clip_model.safetensors", str(tmp_path / "cache"))]
    model, preprocess = clip.load(full, device="cpu", download_root=tmp_path / "cache")
    tokens = clip.tokenize(["a cat"])
    with torch.no_grad():
        torch.testing.assert_close(model.encode_text(tokens), theirs.encode_text(tokens), atol=1e-4, rtol=1e-4)
    white = preprocess(Image.new("RGB", (10, 10), "white"))
    torch.testing.assert_close(white[:, 0, 0], torch.tensor([2.5, 2.0, 1.75]))


def test_failing_hub_is_one_line(toy, monkeypatch):
    name, _, _ = toy("ViT-B-32")

    def hub(**_):
        raise OSError("no route\nto host")

    monkeypatch.setattr(open_clip.pretrained, "hf_hub_download", hub)
    full = publish(monkeypatch, name, hf_hub="someone/some-model/")
    with pytest.raises(RuntimeError) as caught:
        find(full)
    line = str(caught.value)
    assert line.startswith(f"cannot download {full}: ") and "no route to host; try again" in line and "\n" not in line


def test_download_from_an_address(toy, monkeypatch, tmp_path):
    name, _, path = toy("ViT-B-32")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(path.parent))

        def log_message(self, *args):
            """Keep the test's output clean."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        checkpoint = find(publish(monkeypatch, name, url=f"{address}/{path.name}"), tmp_path / "cache")
        assert checkpoint.path == tmp_path / "cache" / path.name
        assert checkpoint.path.read_bytes() == path.read_bytes()
        with pytest.raises(RuntimeError, match="cannot download open_clip:.*HTTP Error 404"):
            find(publish(monkeypatch, name, url=f"{address}/gone.pt"), tmp_path / "cache")
        server.shutdown()


@pytest.mark.parametrize("name", ["ViT-B-16/openai", "ViT-L-14/laion2b_s32b_b82k", "ViT-H-14-378/dfn5b"])
@pytest.mark.parametrize("size", [(50, 80), (81, 40)])
def test_preprocessing_is_open_clips(name, size):
    arch, tag, _ = open_clip_models.split(f"open_clip:{name}")
    _, preprocess, config = open_clip_models.pretrained_use(open_clip_models.architecture(arch), tag)
    wanted = {key: config[key] for key in ("mean", "std", "interpolation", "resize_mode")}
    theirs = image_transform_v2(PreprocessCfg(size=32, **wanted), is_train=False)
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    assert torch.allclose(clip.clip._transform(32, preprocess)(image), theirs(image), atol=1e-6)
