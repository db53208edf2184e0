"""Hugging Face's CLIP: names of tensors, configurations, folders and the hub, and what is refused and why."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import threading
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

import clip
from clip.hugging_face import locate
from clip.model import CLIP
from clip.shape import OPENAI_IMAGES, Computation, Preprocess
from clip.state_dict import read_state_dict
from clip.weights import find
from trainers.shared.backbone import weights_id
from trainers.shared.cosine import l2_normalize
from trainers.shared.images import images_of

CONFIG = {
    "model_type": "clip",
    "projection_dim": 24,
    "text_config": {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1, "num_hidden_layers": 2},
    "vision_config": {
        **{"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1, "num_hidden_layers": 3},
        **{"image_size": 32, "patch_size": 8},
    },
}
IMAGES = {"crop_size": 32, "size": 32, "resample": 2, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


def their_names(tensors):
    """OpenAI's tensors under Hugging Face's names, written down a second time, from the other side."""
    found = {"logit_scale": tensors["logit_scale"]}
    for tower, ours in (("text_model", ""), ("vision_model", "visual.")):
        for block in range(3 if ours else 2):
            mine, layer = f"{ours}transformer.resblocks.{block}", f"{tower}.encoder.layers.{block}"
            for kind in ("weight", "bias"):
                for part, value in zip("qkv", tensors[f"{mine}.attn.in_proj_{kind}"].chunk(3), strict=True):
                    found[f"{layer}.self_attn.{part}_proj.{kind}"] = value.clone()
                found[f"{layer}.self_attn.out_proj.{kind}"] = tensors[f"{mine}.attn.out_proj.{kind}"]
                for number, name in ((1, "c_fc"), (2, "c_proj")):
                    found[f"{layer}.layer_norm{number}.{kind}"] = tensors[f"{mine}.ln_{number}.{kind}"]
                    found[f"{layer}.mlp.fc{number}.{kind}"] = tensors[f"{mine}.mlp.{name}.{kind}"]
    for kind in ("weight", "bias"):
        found[f"text_model.final_layer_norm.{kind}"] = tensors[f"ln_final.{kind}"]
        found[f"vision_model.pre_layrnorm.{kind}"] = tensors[f"visual.ln_pre.{kind}"]
        found[f"vision_model.post_layernorm.{kind}"] = tensors[f"visual.ln_post.{kind}"]
    found["text_model.embeddings.token_embedding.weight"] = tensors["token_embedding.weight"]
    found["text_model.embeddings.position_embedding.weight"] = tensors["positional_embedding"]
    found["vision_model.embeddings.class_embedding"] = tensors["visual.class_embedding"]
    found["vision_model.embeddings.patch_embedding.weight"] = tensors["visual.conv1.weight"]
    found["vision_model.embeddings.position_embedding.weight"] = tensors["visual.positional_embedding"]
    found["text_projection.weight"] = tensors["text_projection"].t().contiguous()
    found["visual_projection.weight"] = tensors["visual.proj"].t().contiguous()
    return found


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    state = CLIP(24, 32, 3, 64, 8, 77, 49408, 64, 1, 2).state_dict()
    return {key: torch.randn_like(value) if value.dim() == 1 else value for key, value in state.items()}


@pytest.fixture(scope="module")
def kept(weights, tmp_path_factory):
    """A folder with the weights file alone."""
    folder = tmp_path_factory.mktemp("kept")
    save_file(their_names(weights), folder / "model.safetensors")
    return folder


def change(content, changes):
    """A configuration with some values changed (dotted keys); None takes a key away."""
    content = json.loads(json.dumps(content))
    for key, value in changes.items():
        node, _, last = content, *key.rpartition(".")[1:]
        for part in key.split(".")[:-1]:
            node = node.setdefault(part, {})
        node[last] = value
        if value is None:
            del node[last]
    return content


@pytest.fixture
def folder(kept, tmp_path):
    """``folder(changes)``: a model's folder; ``images``: of its preprocessor, unless None."""

    def make(changes=None, images=None, file="preprocessor_config.json"):
        target = tmp_path / "model"
        target.mkdir()
        os.link(kept / "model.safetensors", target / "model.safetensors")
        (target / "config.json").write_text(json.dumps(change(CONFIG, changes or {})))
        if images is not None:
            (target / file).write_text(json.dumps(images))
        return target

    return make


def same(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[k], v) for k, v in expected.items())


@pytest.mark.parametrize("form", ["safetensors", "bin", "wrapped"])
def test_names_are_mapped(form, weights, tmp_path):
    positions = {f"{tower}_model.embeddings.position_ids": torch.arange(9) for tower in ("text", "vision")}
    state = their_names(weights) | positions
    if form == "safetensors":
        save_file(state, tmp_path / "w")
    elif form == "bin":
        torch.save(state, tmp_path / "w")
    else:
        torch.save({"epoch": 1, "model": {f"module.clip.{key}": value for key, value in state.items()}}, tmp_path / "w")
    assert same(read_state_dict(tmp_path / "w"), weights)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("text_model.encoder.layers.1.self_attn.k_proj.bias", None, "resblocks.1.attn.in_proj_bias is missing"),
        ("vision_model.encoder.layers.0.self_attn.q_proj.bias", torch.zeros(63), "attn.in_proj_bias is missing"),
        ("vision_model.post_layernorm.bias", None, "visual.ln_post.bias is missing"),
        ("visual_projection.weight", torch.zeros(24), "visual_projection.weight"),
        ("text_model.head.bias", torch.zeros(2), "it is a SigLIP (text_model.head.bias)"),
        ("text_model.more", torch.zeros(2), "text_model.more is unexpected"),
        ("text_model.final_layer_norm.bias", torch.full((64,), float("nan")), "final_layer_norm.bias holds NaN"),
    ],
)
def test_every_tensor_is_needed_and_no_other_taken(key, value, named, weights, tmp_path):
    state = their_names(weights)
    state.pop(key, None)
    save_file(state if value is None else state | {key: value}, tmp_path / "w")
    if key == "visual_projection.weight":
        named = "it has no 'visual."
    with pytest.raises(ValueError) as caught:
        read_state_dict(tmp_path / "w")
    assert named in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_says_how_its_weights_compute(folder, weights):
    path = folder(images=IMAGES)
    checkpoint = find(path)
    assert checkpoint.computation == Computation() and not checkpoint.assumed
    assert checkpoint.preprocess == Preprocess((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bilinear")
    assert same(checkpoint.build(torch.float32).state_dict(), weights)
    wanted = {
        "SIZE": (32, 32),
        "PIXEL_MEAN": [0.5, 0.4, 0.3],
        "PIXEL_STD": [0.2, 0.3, 0.4],
        "INTERPOLATION": "bilinear",
    }
    assert images_of(str(path)) == images_of(str(path / "model.safetensors")) == wanted
    assert find(path / "model.safetensors") == checkpoint
    shutil.copy(path / "model.safetensors", path / "bare.safetensors")
    bare = find(path / "bare.safetensors")
    assert bare.assumed and images_of(str(bare.path)) == {}
    assert weights_id(bare) == weights_id(checkpoint), "the same weights, computed the same way"


def test_another_activation_and_other_heads(folder):
    acts = {"text_config.hidden_act": "gelu", "vision_config.hidden_act": "gelu"}
    checkpoint = find(folder({**acts, "text_config.num_attention_heads": 2, "vision_config.num_attention_heads": 2}))
    assert checkpoint.computation == Computation(False, 32, 32) and checkpoint.preprocess is None
    assert weights_id(checkpoint).endswith(" (GELU, heads of 32)")


def test_what_a_configuration_leaves_out_has_its_default(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    model = locate(str(tmp_path)).model()
    assert model.computation == Computation() and model.side == 224
    values = {"embed_dim": 512, "vision_layers": 12, "vision_patch_size": 32, "transformer_mlp_width": 2048}
    assert values.items() <= model.shape.items()


def test_a_dict_of_a_tower_counts_alone(folder):
    """As for CLIPConfig: what it leaves out has its default, whatever ``text_config`` says."""
    whole = change(CONFIG, {"text_config.hidden_act": "quick_gelu"})["text_config"]
    acts = {"text_config.hidden_act": "gelu", "text_config_dict": whole}
    assert find(folder(acts)).computation == Computation()


@pytest.mark.parametrize(
    ("images", "preprocess"),
    [
        ({}, OPENAI_IMAGES),
        ({"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "resample": 3}, OPENAI_IMAGES),
        ({"size": {"height": 32, "width": 32}, "do_center_crop": False}, Preprocess(squash=True)),
    ],
)
@pytest.mark.parametrize("file", ["preprocessor_config.json", "processor_config.json"])
def test_how_images_are_made(images, preprocess, file, folder):
    content = {"image_processor": images} if file == "processor_config.json" else images
    assert find(folder(images=content, file=file)).preprocess == preprocess


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ({"do_resize": False}, "do_resize is False"),
        ({"do_normalize": False}, "do_normalize is False"),
        ({"do_center_crop": False}, "do_center_crop is False"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor is 0.00784313725490196"),
        ({"resample": 0}, "resample is 0"),
        ({"size": {"shortest_edge": 40}}, "size is {'shortest_edge': 40}, images of 32"),
        ({"crop_size": 28}, "crop_size is 28, images of 32"),
        ({"image_mean": 0.5}, "image_mean is 0.5"),
    ],
)
def test_images_that_are_not_understood_are_refused(images, reason, folder):
    path = folder(images=images)
    with pytest.raises(ValueError) as caught:
        find(path)
    start = f"{path} makes images in a way that is not known here (preprocessor_config.json: {reason}): give a CLIP"
    assert str(caught.value).startswith(start)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "siglip"}, "model_type is 'siglip'"),
        ({"model_type": None}, "model_type is None"),
        ({"text_config.hidden_act": "gelu"}, "hidden_act is 'gelu' for texts, 'quick_gelu' for images"),
        (
            {"text_config.hidden_act": "gelu_new", "vision_config.hidden_act": "gelu_new"},
            "hidden_act is 'gelu_new' for texts, 'gelu_new' for images",
        ),
        ({"text_config.vocab_size": 30522}, "text_config.vocab_size is 30522"),
        ({"text_config.max_position_embeddings": 64}, "text_config.max_position_embeddings is 64"),
        ({"text_config.eos_token_id": 5}, "text_config.eos_token_id is 5"),
        ({"vision_config.layer_norm_eps": 1e-6}, "vision_config.layer_norm_eps is 1e-06"),
        ({"vision_config.num_channels": 4}, "vision_config.num_channels is 4"),
        ({"vision_config.image_size": 33}, "vision_config.image_size is 33, patch_size 8"),
        ({"text_config.num_attention_heads": 3}, "text_config.hidden_size is 64, num_attention_heads 3"),
    ],
)
def test_what_is_not_understood_is_refused(changes, reason, folder):
    path = folder(changes)
    with pytest.raises(ValueError) as caught:
        find(path)
    assert str(caught.value) == (
        f"{path} is not a CLIP as it is computed here (config.json: {reason}): give a CLIP, such as ViT-B/16, "
        "open_clip:ViT-B-16/laion2b_s34b_b88k or hf:openai/clip-vit-base-patch16"
    )


def test_weights_of_another_model_are_refused(folder):
    path = folder({"vision_config.num_hidden_layers": 4, "text_config.intermediate_size": 100})
    with pytest.raises(ValueError) as caught:
        find(path).build(torch.float32)
    differs = "vision_layers is 3, not 4; transformer_mlp_width is 256, not 100"
    assert str(caught.value) == f"{path}/model.safetensors does not hold a CLIP as its config.json says: {differs}"


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda path: (path / "config.json").unlink(), "{} has no config.json, so it is not a Hugging Face model: "),
        (lambda path: (path / "config.json").write_text("{"), "{}/config.json is not valid JSON (Expecting property"),
        (lambda path: (path / "config.json").write_text("[]"), "{}/config.json must hold a JSON object, not a list"),
        (
            lambda path: (path / "model.safetensors").unlink(),
            "{} holds neither model.safetensors nor pytorch_model.bin: give a CLIP, such as ViT-B/16",
        ),
        (
            lambda path: (path / "model.safetensors").rename(path / "model.safetensors.index.json"),
            "{} keeps its weights in parts (model.safetensors.index.json), which are not read: save them as one file, ",
        ),
    ],
)
def test_folders_that_are_not_whole(spoil, line, folder):
    path = folder()
    spoil(path)
    with pytest.raises(ValueError) as caught:
        find(path)
    assert str(caught.value).startswith(line.format(path))


class Hub(http.server.SimpleHTTPRequestHandler):
    """What the hub answers: the files of ``folder`` as someone/clip, and the errors that it has headers for."""

    folder = Path()
    errors = {"gone": "RepoNotFound", "gated": "GatedRepo", "old": "RevisionNotFound"}

    def do_HEAD(self):  # noqa: N802
        self.answer(body=False)

    def do_GET(self):  # noqa: N802
        self.answer(body=True)

    def answer(self, body):
        match = re.fullmatch(r"/someone/(\w+)/resolve/(\w+)/(.+)", self.path)
        name, revision, file = match.groups() if match else ("gone", "main", "none")  # it asks for other things too
        error = self.errors.get(revision) or self.errors.get(name)
        path = self.folder / file
        if not error and not path.is_file():
            error = "EntryNotFound"
        self.send_response(404 if error else 200)
        self.send_header("X-Repo-Commit", "0" * 40)
        content = b"" if error else path.read_bytes()
        if error:
            self.send_header("X-Error-Code", error)
        self.send_header("ETag", f'"{hash(content)}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *args):
        """Keep the test's output clean."""


@pytest.fixture
def hub(folder, monkeypatch):
    """A hub on this machine whose model someone/clip is the folder that is returned."""
    path = folder(images=IMAGES)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(Hub, "folder", path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield path
        server.shutdown()


def test_a_model_of_the_hub(hub, tmp_path, weights):
    checkpoint = find("hf:someone/clip", tmp_path / "cache")
    assert checkpoint.path.is_relative_to(tmp_path / "cache") and checkpoint.path.name == "model.safetensors"
    local = find(hub)
    assert (checkpoint.computation, checkpoint.preprocess) == (local.computation, local.preprocess)
    assert weights_id(checkpoint) == weights_id(local)
    model, _ = clip.load("hf:someone/clip@main", device="cpu", download_root=tmp_path / "cache")
    assert same(model.state_dict(), weights)


def test_of_the_hubs_models_only_the_configuration_is_needed_for_images(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    (hub / "model.safetensors").unlink()
    assert images_of("hf:someone/clip")["PIXEL_MEAN"] == [0.5, 0.4, 0.3]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("hf:someone/gone", "hf:someone/gone: the hub has no such model, or it is private: look at the name, or"),
        (
            "hf:someone/gated",
            "hf:someone/gated is given on request only: ask for it at https://huggingface.co/someone/gated, ",
        ),
        ("hf:someone/clip@old", "hf:someone/clip@old: the model has no revision 'old'"),
        ("hf:clip", "'hf:clip' names no model of the hub: give hf:OWNER/NAME or hf:OWNER/NAME@REVISION"),
        ("hf:a/b/c", "'hf:a/b/c' names no model of the hub"),
        ("hf:some--one/clip", "hf:some--one/clip: Cannot have -- or .. in repo_id"),
    ],
)
def test_names_that_the_hub_does_not_give(name, line, hub, tmp_path):
    with pytest.raises(ValueError) as caught:
        find(name, tmp_path / "cache")
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)


def test_a_repository_without_a_configuration(hub, tmp_path):
    (hub / "config.json").unlink()
    with pytest.raises(ValueError, match="^hf:someone/clip has no config.json, .*; open_clip's models are hf-hub:"):
        find("hf:someone/clip", tmp_path / "cache")


def test_a_model_that_is_here_needs_no_network(hub, tmp_path, monkeypatch):
    """Also where the repository lacks a file that it may have: it holds no safetensors, and says nothing of images."""
    (hub / "preprocessor_config.json").unlink()
    torch.save(load_file(hub / "model.safetensors"), hub / "pytorch_model.bin")
    (hub / "model.safetensors").unlink()
    checkpoint = find("hf:someone/clip", tmp_path / "cache")
    assert checkpoint.path.name == "pytorch_model.bin" and checkpoint.preprocess is None
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find("hf:someone/clip", tmp_path / "cache") == checkpoint


def test_no_network_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError) as caught:
        find("hf:someone/clip", tmp_path / "cache")
    line = str(caught.value)
    assert line.startswith("cannot download config.json of hf:someone/clip: ") and "\n" not in line
    assert line.endswith("; try again, or give the path of a folder with config.json and model.safetensors")


def test_a_failing_download_is_one_line(monkeypatch, tmp_path):
    def broken(*_, **__):
        raise RuntimeError("cut\noff")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", broken)
    with pytest.raises(ConnectionError, match="^cannot download config.json of hf:someone/clip: cut off; try again"):
        find("hf:someone/clip", tmp_path / "cache")


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("eos", [2, 49407])
def test_features_are_those_of_transformers(act, eos, tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    acts = {f"{part}_config.hidden_act": act for part in ("text", "vision")}
    config = transformers.CLIPConfig(**change(CONFIG, {**acts, "text_config.eos_token_id": eos}))
    theirs = transformers.CLIPModel(config).eval()
    with torch.no_grad():
        for key, value in theirs.named_parameters():
            if key.endswith("bias"):
                value.normal_(std=0.1)
            elif value.dim() == 1:
                value.uniform_(0.5, 1.5)
            elif "proj" in key or ".fc" in key:
                value.normal_(std=value.shape[1] ** -0.5)
    theirs.save_pretrained(tmp_path)
    ours, _ = clip.load(tmp_path, device="cpu")
    coarse = torch.nn.functional.interpolate(torch.randn(4, 3, 4, 4), size=32, mode="bilinear")
    pixels = coarse + 0.3 * torch.randn(4, 3, 32, 32)
    tokens = clip.tokenize(["a dog.", "long " * 60, "", "\N{DOG} café"])
    with torch.no_grad():
        found = theirs(input_ids=tokens.long(), pixel_values=pixels)
        mine = l2_normalize(ours.encode_image(pixels)), l2_normalize(ours.encode_text(tokens))
        logits = ours(pixels, tokens)[0]
    for one, reference in zip(mine, (found.image_embeds, found.text_embeds), strict=True):
        assert (reference[0] - reference[1]).abs().max() > 0.05, "features that hardly vary prove nothing"
        print("largest difference", (one - reference).abs().max().item())
        torch.testing.assert_close(one, reference, atol=1e-5, rtol=0)
    torch.testing.assert_close(logits, found.logits_per_image, atol=1e-4, rtol=1e-5)
