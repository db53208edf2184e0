"""`mmrl.py export --format clip`: other programs compute the features that a run learned."""

from __future__ import annotations

import open_clip
import pytest
import torch
import torch.nn.functional as F

import clip
from classify import load_classifier, plain_clip
from commands import export
from tests import open_clip_toys as toys
from tests.classify.conftest import BASE, QUICK, trained


@pytest.fixture(scope="module")
def run(tmp_path_factory, data):
    """CLIP-LoRA after a few large steps on the base classes."""
    options = ["DATASET.SUBSAMPLE_CLASSES", "base", "TRAINER.CLIPLORA.N_ITERS", "2", "OPTIM.LR", "0.01"]
    return trained("CLIP_LoRA", tmp_path_factory.mktemp("runs") / "lora", data, *QUICK, *options)


def in_open_clip(path, monkeypatch):
    """The file as open_clip's model of an architecture that is the embedded CLIP's."""
    vision = {"image_size": 32, "patch_size": 8, "width": 128, "layers": 6, "head_width": 64}
    text = {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 6}
    toys.register(
        monkeypatch, "embedded", {"embed_dim": 128, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    )
    return open_clip.create_model("embedded", pretrained=str(path))


def test_clip_and_open_clip_load_what_was_learned(run, call, digits, tmp_path, monkeypatch):
    status, printed, err = call(export, "--model-dir", run, "--out", tmp_path, "--format", "clip")
    path = tmp_path / "clip.pt"
    assert status == 0 and printed.startswith(f"{path}: largest difference from PyTorch ") and printed.count("\n") == 1
    classifier = load_classifier(run, device="cpu", precision="fp32")
    images = torch.stack([classifier.prepare(file) for file in sorted(digits.glob("[0-9].png"))])
    tokens = clip.tokenize([f"a photo of a {name}." for name in BASE])
    bare = clip.load("embedded", "cpu")[0]
    with torch.no_grad():
        wanted = classifier.method.image_features(images), classifier.class_features
        assert (F.normalize(bare.encode_image(images), dim=-1) - wanted[0]).abs().max() > 1e-2
        for model, bound in (
            (clip.load(path, "cpu")[0], 1e-6),
            (in_open_clip(path, monkeypatch), 1e-5),
            (
                open_clip.load_openai_model(str(path), "fp32", "cpu"),
                2e-3,
            ),  # which brings weights to half, as OpenAI's own
        ):
            found = model.encode_image(images), model.encode_text(tokens)
            assert all((F.normalize(a, dim=-1) - b).abs().max() < bound for a, b in zip(found, wanted, strict=True))


def test_what_cannot_be_written_is_said(run, call, mmrl_run, tmp_path, monkeypatch):
    words = ["--out", tmp_path, "--format", "clip", "--model-dir"]
    status, _, err = call(export, *words, mmrl_run)
    assert status == 1 and err.splitlines()[-1].startswith("error: MMRL learns no change of CLIP's own weights, so ")
    with pytest.raises(SystemExit):
        call(export, *words, run, "--classes", "a,b")
    monkeypatch.setattr(plain_clip, "TOLERANCE", -1)
    status, _, err = call(export, *words, run)
    assert status == 1 and "clip.pt is not kept: its image features differ from the run's by" in err
    assert list(tmp_path.iterdir()) == []
