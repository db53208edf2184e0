"""Methods on image-text models that open_clip computes: those on features run, all others say why they do not."""

from __future__ import annotations

from functools import partial

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

import mmrl
import trainers
from classify import load_classifier
from classify.fitting.plan import Planner, Request, Speed, choose
from classify.standalone import Classifier
from clip.weights import find
from runs.config import build_cfg
from tests import calls
from tests import image_text_toys as toys
from train import parse_args
from trainers.prolip import ProLIPModel
from trainers.shared.backbone import check_method
from trainers.shared.images import describe

ON_FEATURES = [name for name in trainers.METHODS if trainers.load(name).on_frozen_features]
IMAGES = [
    *("INPUT.SIZE", (32, 32), "INPUT.TRANSFORMS", ("normalize", "squash")),
    *("INPUT.INTERPOLATION", "bicubic", "INPUT.PIXEL_MEAN", toys.IMAGES["mean"], "INPUT.PIXEL_STD", toys.IMAGES["std"]),
]


@pytest.fixture
def folder(shared):
    """``folder(family)``: a toy model of it."""
    return lambda family: str(shared(family, partial(toys.write, family)))


@pytest.fixture
def on_model(folder, make_trainer, tmp_path_factory):
    """``on_model(family, method, ...)``: a trainer on features of a toy model, computed once for all tests."""
    kept = str(tmp_path_factory.getbasetemp() / "features")

    def make(family, method, *options):
        words = ["MODEL.BACKBONE.NAME", folder(family), *IMAGES, "FEATURES.ONCE", True, "FEATURES.FOLDER", kept]
        return make_trainer(method, *words, *options)

    return make


@pytest.mark.parametrize("method", ON_FEATURES)
def test_methods_on_features_learn_and_score(method, on_model):
    """On CoCa's family, whose tower ends in a linear map."""
    trainer = on_model("coca", method)
    trainer.train()
    assert np.isfinite(trainer.test()) and not trainer.follows_public_code


def test_first_scores_are_zero_shots_with_the_models_own_scale(on_model):
    """Where the releases write 100, too; CLIP keeps that number."""
    zero_shot, *others = (on_model("coca", method).model for method in ("ZeroshotCLIP", "ProLIP", "TipAdapter"))
    clip_model = zero_shot.clip_model
    assert abs(clip_model.logit_scale.exp().item() - 100) > 80
    torch.manual_seed(0)
    pixels = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        x = clip_model.visual.before_projection(pixels)
        f = F.normalize(x @ others[0].matrix.t(), dim=-1)
        wanted = clip_model.logit_scale.exp() * f @ zero_shot.class_features().t()
        for model in (zero_shot, others[0]):
            torch.testing.assert_close(model.scores(pixels, model.class_features()), wanted, atol=1e-5, rtol=1e-5)
        others[1].use_classes(seen=False)
        torch.testing.assert_close(others[1].scores(pixels, None), wanted, atol=1e-5, rtol=1e-5)


def test_other_methods_refuse_by_name(folder):
    place = folder("siglip")
    for method in trainers.METHODS.keys() - set(ON_FEATURES):
        with pytest.raises(ValueError) as caught:
            check_method(place, method, trainers.load(method).on_frozen_features)
        line = str(caught.value)
        assert line.startswith(f"MODEL.BACKBONE.NAME: {method} works within the layers of CLIP, and {place} has others")
        assert "vision_cfg.timm_model_name is 'test_vit3'" in line and "\n" not in line
        assert line.endswith(f"; methods that work on features: {', '.join(ON_FEATURES)}")


def test_what_else_needs_a_clip_is_refused(on_model, folder, tmp_path):
    siglip = find(folder("siglip")).build(torch.float32)
    with pytest.raises(ValueError, match="ProLIP learns the linear map that an image tower ends in"):
        ProLIPModel(siglip, torch.zeros(2, 96), 1.0)
    torch.save({"state_dict": {"weight": torch.zeros(2, 2)}}, tmp_path / "base.pth.tar")
    with pytest.raises(ValueError, match="ENHANCED_BASE is a text projection of CLIP's, and this backbone is no CLIP"):
        on_model("coca", "TaskRes", "TRAINER.TaskRes.ENHANCED_BASE", str(tmp_path / "base.pth.tar"))
    with pytest.raises(ValueError, match="too long for context length 24: shorten the class name or the template"):
        on_model("coca", "TaskRes", "DATASET.TEMPLATE", "a photo of a {}" + " dog" * 20)
    with pytest.raises(ValueError, match="public codes build a CLIP, and this backbone is none"):
        on_model("coca", "TaskRes", "OFFICIAL_STREAM", True)
    with pytest.raises(ValueError, match="other images than INPUT describes: add INPUT.TRANSFORMS"):
        on_model("coca", "ZeroshotCLIP", "INPUT.TRANSFORMS", ("normalize",))


def test_a_configuration_follows_the_model(folder, digits_root, tmp_path):
    words = calls.words(digits_root, tmp_path, "--backbone", folder("siglip"), method="TaskRes")
    cfg = build_cfg(parse_args(words))
    assert (cfg.INPUT.SIZE, cfg.INPUT.PIXEL_MEAN) == ((toys.SIDE, toys.SIDE), toys.IMAGES["mean"])
    assert cfg.INPUT.TRANSFORMS[-1] == "squash" and cfg.OFFICIAL_STREAM is False
    file = describe("open_clip:ViT-B-16-SigLIP:weights.safetensors")  # as all weights of that architecture
    assert file.preprocess.squash and file.preprocess.mean == (0.5, 0.5, 0.5)


def test_fit_takes_a_method_on_features(folder):
    """A GPU or not; one that needs CLIP's layers is refused before anything runs."""

    def chosen(shots, device="cuda", **asked):
        images = type("Images", (), {"classes": ["a", "b"], "folder": "here"})()
        planner = Planner(Request("here", "out", backbone=folder("siglip"), **asked), images, 2, Speed(1, 1, 1))
        fold = type("Fold", (), {"train": [None] * 2 * shots})()
        return choose(planner, [fold], device)

    assert chosen(16)[0] == "LinearProbe" and chosen(4)[0] == "TipAdapter"
    assert "has other layers than CLIP" in chosen(4)[1]
    assert chosen(4, method="CLAP")[0] == "ADAPTER"
    with pytest.raises(ValueError, match="MODEL.BACKBONE.NAME: PromptSRC works within the layers of CLIP"):
        chosen(4, method="PromptSRC")


@pytest.mark.slow
def test_train_predict_and_export(folder, digits_root, tmp_path, capsys):
    """By the command line, on Digits; the exported program scores as the run does."""
    run, out = tmp_path / "run", tmp_path / "out"
    options = ["--backbone", folder("siglip"), "DATASET.NUM_SHOTS", "2", "DATASET.SUBSAMPLE_CLASSES", "base"]
    assert calls.call(calls.words(digits_root, tmp_path / "no", *options)) == 1
    assert "error: MODEL.BACKBONE.NAME: MMRL works within the layers of CLIP" in capsys.readouterr().err
    options += ["TEST.NO_TEST", "True"]
    assert calls.call(calls.words(digits_root, run, *options, method="TaskRes")) == 0
    assert load_classifier(run, device="cpu").about["weights"].partition(" ")[2].startswith("(open_clip's computation ")
    assert mmrl.main(["export", "--model-dir", str(run), "--out", str(out), "--format", "onnx"]) == 0
    found = load_classifier(run, device="cpu", precision="fp32")
    paths = sorted((digits_root / "digits/images/two").iterdir())[:2]
    assert np.abs(Classifier(out).predict(paths) - found.predict(paths).numpy()).max() < 1e-4


@pytest.mark.slow
def test_a_run_on_a_real_architecture(digits_root, tmp_path):
    """MobileCLIP-S1 at full size with random weights, by the command line; features are open_clip's."""
    theirs, _, prepare = open_clip.create_model_and_transforms(
        "MobileCLIP-S1", image_mean=(0, 0, 0), image_std=(1, 1, 1)
    )
    file, run = tmp_path / "model.safetensors", tmp_path / "run"
    save_file(theirs.state_dict(), file)
    options = ["--backbone", f"open_clip:MobileCLIP-S1:{file}", "DATASET.NUM_SHOTS", "1", "TEST.NO_TEST", "True"]
    options += ["TRAINER.LINEARPROBE.C", "1.0"]
    assert calls.call(calls.words(digits_root, run, *options, method="LinearProbe")) == 0
    path = next((digits_root / "digits/images/two").iterdir())
    image = Image.open(path).convert("RGB").resize((256, 256), Image.Resampling.BICUBIC)
    with torch.no_grad():
        wanted = theirs.eval().encode_image(prepare(image)[None], normalize=True)
    found = load_classifier(run, device="cpu", precision="fp32").features(image)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
