"""MMRL on every ViT shape at toy width, and runs whose images are not the checkpoint's."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import open_clip
import pytest
import torch

import train
from classify import load_classifier
from clip.clip import available_models
from clip.model import CLIP, build_model
from clip.shape import OPENAI_IMAGES
from clip.weights import find
from dassl.config import get_cfg_default
from reference.mmrl import PlainMMRL
from reference.shared import toy
from runs.config import build_cfg, merge_pairs
from tests import open_clip_toys as toys
from trainers.mmrl import MMRLModel
from trainers.settings import MMRLSettings
from trainers.shared import base
from trainers.shared.backbone import load_clip, weights_id
from trainers.shared.templates import prompt_tokens

CONFIGS = Path(train.__file__).parent / "configs"
PROMPTS = ["a photo of a dog.", "a photo of a red panda.", "a photo of an aeroplane."]
LAST = tuple(range(-7, 0))


@pytest.mark.parametrize("shape", toys.SHAPES)
def test_mmrl_equals_the_equations_on_every_shape(shape, monkeypatch, tmp_path):
    """Loss and all gradients in float64, to 1e-9, and a step that lowers the loss."""
    arch, vision = toys.SHAPES[shape]
    toys.register(monkeypatch, "toy", toys.toy_config(arch, **vision))
    toys.write_model("toy", tmp_path / "toy.safetensors")
    config = open_clip.get_model_config("toy")
    torch.manual_seed(1)
    checkpoint = find(f"open_clip:toy:{tmp_path / 'toy.safetensors'}")
    clip_model = load_clip(checkpoint, "fp32", torch.device("cpu")).double()
    model = MMRLModel(clip_model, PROMPTS, MMRLSettings(0.7, 0.5, LAST, 6, 3)).double()
    side = config["vision_cfg"]["image_size"]
    images, labels = torch.randn(1, 3, side, side, dtype=torch.float64), torch.tensor([2])
    weights = {name: value.clone() for name, value in clip_model.state_dict().items()}
    depths = [len(tower.transformer.resblocks) for tower in (clip_model.visual, clip_model)]
    assert depths == [config["vision_cfg"]["layers"], config["text_cfg"]["layers"]]
    plain = PlainMMRL(
        weights,
        prompt_tokens(PROMPTS),
        depths[0] - 6,
        0.7,
        0.5,
        text_first=depths[1] - 6,
        head_width=config["vision_cfg"].get("head_width", 64),
        quick_gelu=config.get("quick_gelu", False),
    )
    learned = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    expected = plain.loss(learned, images, labels)
    expected.backward()
    loss, _ = model.loss(images, labels)
    loss.backward()
    assert abs(loss.item() - expected.item()) <= 1e-9 * max(1, abs(expected.item()))
    for name, value in model.named_parameters():
        want = learned[name].grad
        assert want.abs().max() > 0
        assert (value.grad - want).norm() <= 1e-9 * want.norm().clamp_min(1e-3), name
        value.data.sub_(1e-3 * value.grad)
    assert model.loss(images, labels)[0] < loss


def test_layers_from_the_end_are_those_from_the_start():
    weights = toy.clip_weights(0, vision=(64, 4), text=(64, 4), vocabulary=49408)
    found = []
    for layers in ((-2, -1), (3, 4)):
        torch.manual_seed(0)
        model = MMRLModel(build_model(weights, torch.float32), PROMPTS, MMRLSettings(0.7, 0.5, layers, 6, 3))
        loss = model.loss(torch.randn(2, 3, 16, 16), torch.tensor([0, 1]))[0]
        found.append((list(model.state_dict()), loss.item()))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("layers", "depths", "line"),
    [
        ([-5, -4, -3, -2, -1], (12, 4), "starts at layer -5, but the text tower has layers -4 to -1"),
        ([-3, -2], (4, 4), "must run without a gap from J to the image tower's last layer -1, not [-3, -2]"),
        ([-1, 1], (4, 4), "must run without a gap from J to the image tower's last layer -1, not [-1, 1]"),
        (
            [3, 4],
            (6, 4),
            "must run without a gap from J to the image tower's last layer 6, not [3, 4]; "
            "where towers differ in depth, count from the end: [-2, -1]",
        ),
        (
            [5, 6],
            (6, 4),
            "starts at layer 5, but the text tower has layers 1 to 4; "
            "where towers differ in depth, count from the end: [-2, -1]",
        ),
        ([3, 4], (6, 6), "must run without a gap from J to the image tower's last layer 6, not [3, 4]"),
    ],
)
def test_layers_that_do_not_fit(layers, depths, line):
    with torch.device("meta"):
        clip_model = CLIP(16, 16, depths[0], 64, 8, 77, 100, 64, 1, depths[1])
    with pytest.raises(ValueError) as caught:
        MMRLModel(clip_model, PROMPTS, MMRLSettings(0.7, 0.5, tuple(layers), 6, 3))
    assert str(caught.value) == f"TRAINER.MMRL.REP_LAYERS {line}"


@pytest.fixture
def published(monkeypatch, tmp_path):
    """Weights in open_clip's list: towers of 4 and 3 layers, plain GELU, 48 x 48 pixels, their own statistics."""
    config = toys.toy_config("ViT-B-16", image_size=48, layers=4)
    config["text_cfg"]["layers"] = 3
    toys.register(monkeypatch, "toy", config)
    toys.write_model("toy", tmp_path / "toy.safetensors")
    mean = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "resize_mode": "squash"}
    entry = open_clip.pretrained._pcfg(hf_hub="someone/some-model/", **mean)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "toy", {"tag": entry})
    found = str(tmp_path / "toy.safetensors")
    monkeypatch.setattr(open_clip.pretrained, "hf_hub_download", lambda **_: found)
    return "open_clip:toy/tag"


RIGHT = [
    *("INPUT.SIZE", (48, 48), "INPUT.PIXEL_MEAN", [0.5, 0.5, 0.5], "INPUT.PIXEL_STD", [0.25, 0.25, 0.25]),
    *("INPUT.INTERPOLATION", "bicubic", "INPUT.TRANSFORMS", ["normalize", "squash"]),
    *("TRAINER.MMRL.REP_LAYERS", [-2, -1]),
]


@pytest.mark.parametrize("method", ["MMRL", "ZeroshotCLIP"])
def test_a_run_on_open_clip_weights(method, published, make_trainer, capsys):
    trainer = make_trainer(method, "MODEL.BACKBONE.NAME", published, *RIGHT)
    trainer.train()
    log = capsys.readouterr().out
    assert "Building transform_test\n+ resize to 48x48\n+ to torch tensor" in log
    assert "does not say" not in log and "* accuracy: " in log
    assert trainer.weights.endswith(" (GELU, heads of 64)")


@pytest.mark.parametrize(
    ("change", "options"),
    [
        ([], ""),
        (["INPUT.SIZE", (32, 32)], 'INPUT.SIZE "(48, 48)"'),
        (["INPUT.TRANSFORMS", ["normalize"]], "INPUT.TRANSFORMS \"['normalize', 'squash']\""),
        (["INPUT.PIXEL_MEAN", [0.5, 0.5, 0.4]], 'INPUT.PIXEL_MEAN "[0.5, 0.5, 0.5]"'),
        (
            ["INPUT.PIXEL_STD", [0.2, 0.25, 0.25], "INPUT.INTERPOLATION", "bilinear"],
            'INPUT.PIXEL_STD "[0.25, 0.25, 0.25]" INPUT.INTERPOLATION "bicubic"',
        ),
    ],
)
def test_images_that_are_not_the_checkpoints_are_refused(change, options, published, make_trainer):
    settings = ["MODEL.BACKBONE.NAME", published, *RIGHT, *change]
    if not options:
        assert make_trainer("MMRL", *settings)
        return
    with pytest.raises(ValueError) as caught:
        make_trainer("MMRL", *settings)
    assert str(caught.value) == f"{published} was trained on other images than INPUT describes: add {options}"


def test_the_line_says_what_to_add(published, make_trainer):
    """The options it gives, read as the command line reads them, make the run start."""
    with pytest.raises(ValueError) as caught:
        make_trainer("MMRL", "MODEL.BACKBONE.NAME", published, "TRAINER.MMRL.REP_LAYERS", [-2, -1])
    words = shlex.split(str(caught.value).partition(": add ")[2])
    cfg = get_cfg_default()
    merge_pairs(cfg, zip(words[::2], words[1::2], strict=True))
    given = [item for key in words[::2] for item in (key, cfg.INPUT[key.removeprefix("INPUT.")])]
    assert len(words) == 10
    make_trainer("MMRL", "MODEL.BACKBONE.NAME", published, "TRAINER.MMRL.REP_LAYERS", [-2, -1], *given)


def test_bare_file_is_announced(make_trainer, toy_clip, capsys):
    trainer = make_trainer("MMRL")
    log = capsys.readouterr().out
    assert f"note: {toy_clip} does not say how it computes: taken as QuickGELU, heads of 64" in log
    assert f"note: the images that {toy_clip} was trained on are not known" in log
    assert trainer.weights == weights_id(find(toy_clip)) and "(" not in trainer.weights


def test_embedded_model_wants_clips_images(make_trainer):
    with pytest.raises(ValueError, match=r'^embedded was trained on other images .*: add INPUT.PIXEL_MEAN "\[0.48'):
        make_trainer("MMRL", "MODEL.BACKBONE.NAME", "embedded", "TRAINER.MMRL.REP_LAYERS", [5, 6])


def configuration(*options, config="MMRL/vit_b16"):
    """What train.py resolves with these options."""
    words = ["--dataset-config-file", f"{CONFIGS}/datasets/digits.yaml", "--config-file"]
    words += [f"{CONFIGS}/trainers/{config}.yaml", "--trainer", config.split("/")[0], *map(str, options)]
    return build_cfg(train.parse_args(words))


@pytest.mark.parametrize("name", [*available_models(), "open_clip:ViT-L-14-336/openai", "open_clip:ViT-B-16:a.pt"])
def test_input_follows_the_name_of_a_checkpoint(name):
    """Sizes are those of open_clip's configurations; of a file only the architecture is known."""
    arch = name.removeprefix("open_clip:").partition(":")[0].removesuffix("/openai").replace("/", "-")
    config = open_clip.get_model_config(arch.replace("@336px", "-336"))
    side = 32 if name == "embedded" else config["vision_cfg"].get("image_size", 224)
    node = configuration("MODEL.BACKBONE.NAME", name, "DATASET.NUM_SHOTS", 1).INPUT
    assert (node.SIZE, node.INTERPOLATION) == ((side, side), "bicubic")
    assert (tuple(node.PIXEL_MEAN), tuple(node.PIXEL_STD)) == (OPENAI_IMAGES.mean, OPENAI_IMAGES.std)


def test_squash_follows_the_checkpoint(published):
    """open_clip's DFN at 378 pixels was trained on squashed images, and is a CLIP."""
    for name in (published, "open_clip:ViT-H-14-378/dfn5b"):
        assert configuration("MODEL.BACKBONE.NAME", name).INPUT.TRANSFORMS[-2:] == ["normalize", "squash"]
    assert "squash" not in configuration("MODEL.BACKBONE.NAME", "ViT-B/16").INPUT.TRANSFORMS


def test_input_follows_weights_of_open_clip_but_not_over_the_command_line():
    other = ["MODEL.BACKBONE.NAME", "open_clip:ViT-L-14/laion2b_s32b_b82k"]
    node = configuration(*other).INPUT
    assert (node.SIZE, node.PIXEL_MEAN, node.PIXEL_STD) == ((224, 224), [0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
    given = configuration(*other, "INPUT.SIZE", "(64, 64)", "INPUT.PIXEL_STD", "[1, 1, 1]").INPUT
    assert (given.SIZE, given.PIXEL_MEAN, given.PIXEL_STD) == ((64, 64), [0.5, 0.5, 0.5], [1, 1, 1])
    assert configuration("--backbone", "some.pt", "INPUT.SIZE", "(48, 48)").INPUT.SIZE == (48, 48)
    with pytest.raises(ValueError, match="^open_clip has no weights 'laion2b' of ViT-B-16; did you mean laion2b_s34b"):
        configuration("--backbone", "open_clip:ViT-B-16/laion2b")


def test_a_run_from_the_command_line_follows_its_checkpoint(published, data_root, tmp_path, monkeypatch):
    """Nothing but the backbone's name and the layers is said; the run's classifier prepares images likewise."""
    words = ["train.py", "--root", data_root, "--output-dir", tmp_path / "run", "--seed", "1", "--trainer", "MMRL"]
    words += ["--dataset-config-file", CONFIGS / "datasets/digits.yaml", "--backbone", published]
    words += ["--config-file", CONFIGS / "trainers/MMRL/vit_b16.yaml", "TRAINER.MMRL.REP_LAYERS", "[-2, -1]"]
    words += ["OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "1", "DATALOADER.NUM_WORKERS", "0"]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", [str(word) for word in words])
        patch.setattr(sys, "stdout", sys.stdout)  # undone at the end: the run's log takes these over
        patch.setattr(sys, "stderr", sys.stderr)
        assert train.main() == 0
    steps = load_classifier(tmp_path / "run", device="cpu").about["preprocessing"]
    assert (steps["center_crop"], steps["mean"], steps["std"]) == ([48, 48], [0.5, 0.5, 0.5], [0.25, 0.25, 0.25])


@pytest.mark.parametrize(
    ("flags", "device", "precision"),
    [
        ("flags : fpu avx512f avx512_bf16", "cpu", "bf16"),
        ("flags : fpu amx_bf16 amx_tile", "cpu", "bf16"),
        ("flags : fpu avx2 avx512f", "cpu", "fp32"),
        (None, "cpu", "fp32"),  # not Linux
        ("flags : avx512_bf16", "mps", "fp32"),
        ("flags : avx512_bf16", "cuda", "amp"),
    ],
)
def test_auto_is_bf16_where_the_processor_multiplies_it(flags, device, precision, tmp_path, monkeypatch):
    file = tmp_path / "cpuinfo"
    if flags:
        file.write_text(f"model name : X\n{flags} rdseed\n")
    monkeypatch.setattr(base.multiplies_bfloat16, "__defaults__", (file,))
    assert base.effective_precision("auto", torch.device(device)) == precision
