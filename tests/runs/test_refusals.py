"""What is refused before a run is built: values out of bounds, two values for a key, files against the checkpoint."""

from __future__ import annotations

import pytest

from tests.runs.test_config import B16, DIGITS, EUROSAT, build
from trainers.shared.images import images_of, same


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["OPTIM.MAX_EPOCH", "0"], "OPTIM.MAX_EPOCH must be at least 1, not 0"),
        (["OPTIM.LR", "-0.1"], "OPTIM.LR must be at least 0, not -0.1"),
        (["DATASET.NUM_SHOTS", "0"], "DATASET.NUM_SHOTS must be at least 1, or -1 for all images, not 0"),
        (["DATASET.NUM_SHOTS=-2"], "DATASET.NUM_SHOTS must be at least 1, or -1 for all images, not -2"),
        (["DATALOADER.TRAIN_X.BATCH_SIZE", "0"], "DATALOADER.TRAIN_X.BATCH_SIZE must be at least 1, not 0"),
        (["DATALOADER.TEST.BATCH_SIZE", "-5"], "DATALOADER.TEST.BATCH_SIZE must be at least 1, not -5"),
        (["DATALOADER.NUM_WORKERS", "-1"], "DATALOADER.NUM_WORKERS must be at least 0, not -1"),
        (["TRAIN.PRINT_FREQ", "0"], "TRAIN.PRINT_FREQ must be at least 1, not 0"),
        (["TEST.SPLIT", "train"], "TEST.SPLIT must be one of test, val, not 'train'"),
        (["TEST.FINAL_MODEL", "best"], "TEST.FINAL_MODEL must be one of last_step, best_val, not 'best'"),
    ],
)
@pytest.mark.parametrize("method", ["MMRL", "ZeroshotCLIP"])
def test_a_value_out_of_bounds_is_refused_whatever_the_method(words, line, method):
    with pytest.raises(ValueError) as caught:
        build(*EUROSAT, "--trainer", method, *words)
    assert str(caught.value) == line


def test_all_images_and_one_shot_are_within_bounds():
    for shots in (-1, 1, 16):
        assert build(*EUROSAT, *B16, "DATASET.NUM_SHOTS", str(shots)).DATASET.NUM_SHOTS == shots


def test_options_are_taken_with_a_sign_or_without():
    mixed = ["OPTIM.LR=1e-3", "SEED", "3", "DATASET.TEMPLATE=a = {}", "INPUT.SIZE=(224, 224)", "--", "TASK=FS"]
    cfg = build(*EUROSAT, *B16, *mixed)
    assert (cfg.OPTIM.LR, cfg.SEED, cfg.DATASET.TEMPLATE, cfg.INPUT.SIZE) == (0.001, 3, "a = {}", (224, 224))
    assert cfg.TASK == "FS"
    assert build(*EUROSAT, *B16, "DATASET.TEMPLATE=").DATASET.TEMPLATE == ""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--seed", "5", "SEED", "7"], "SEED is given twice, by --seed 5 and by SEED 7: leave one of them out"),
        (
            ["--transforms", "normalize", "random_flip", "--seed", "1", "INPUT.TRANSFORMS", "['normalize']"],
            "INPUT.TRANSFORMS is given twice, by --transforms normalize random_flip and by INPUT.TRANSFORMS "
            "['normalize']: leave one of them out",
        ),
        (
            ["--output-dir", "a", "OUTPUT_DIR", "b"],
            "OUTPUT_DIR is given twice, by --output-dir a and by OUTPUT_DIR b: leave one of them out",
        ),
        (
            ["--root", "a", "DATASET.ROOT=b"],
            "DATASET.ROOT is given twice, by --root a and by DATASET.ROOT b: leave one of them out",
        ),
        (
            ["DATASET.NUM_SHOTS", "16", "DATASET.NUM_SHOTS", "4"],
            "DATASET.NUM_SHOTS is given twice, by DATASET.NUM_SHOTS 16 and by DATASET.NUM_SHOTS 4: leave one of them "
            "out",
        ),
        (
            ["TASK", "B2N", "OPTIM.LR=1", "TASK=FS"],
            "TASK is given twice, by TASK B2N and by TASK FS: leave one of them out",
        ),
    ],
)
def test_one_key_has_one_value(words, line):
    with pytest.raises(ValueError) as caught:
        build(*EUROSAT, *B16, *words)
    assert str(caught.value) == line


def test_the_same_value_twice_is_no_contradiction():
    same = ["--root", "./a/", "--seed", "5", "--backbone", "RN50", "SEED", "5", "DATASET.ROOT", "a"]
    same += ["MODEL.BACKBONE.NAME", "RN50", "OPTIM.LR", "1e-1", "OPTIM.LR=0.1"]
    assert build(*EUROSAT, *B16, *same).OPTIM.LR == 0.1
    names = ["--trainer", "MMA", "TRAINER.NAME", "MultiModalAdapter"]
    assert build(*EUROSAT, *names).TRAINER.NAME == "MultiModalAdapter"


CLIPS = "{SIZE: [224, 224], INTERPOLATION: bicubic, PIXEL_MEAN: [0.48145466, 0.4578275, 0.40821073]}"


@pytest.mark.parametrize(
    ("inputs", "backbone", "words", "refused"),
    [
        # What official files say goes with any backbone that the command line names.
        (CLIPS, "ViT-B/16", [], ""),
        (CLIPS, "ViT-B/16", ["--backbone", "ViT-L/14@336px"], ""),
        (CLIPS, "ViT-B/16", ["MODEL.BACKBONE.NAME=embedded"], ""),
        (CLIPS, "", ["--backbone", "embedded"], ""),
        ("{SIZE: [336, 336]}", "ViT-L/14@336px", [], ""),
        ("{SIZE: [336, 336]}", "ViT-L/14@336px", ["--backbone", "RN50"], ""),
        ("{SIZE: [32, 32]}", "embedded", ["--backbone", "ViT-B/16"], ""),
        ("{SIZE: [336, 336]}", "ViT-B/16", ["--backbone", "ViT-L/14@336px"], ""),
        ("{SIZE: [336, 336]}", "ViT-B/16", ["INPUT.SIZE", "(224, 224)"], ""),
        ("{TRANSFORMS: [normalize], CROP_PADDING: 8}", "ViT-B/16", [], ""),
        ("{SIZE: [336, 336]}", "some.pt", [], ""),
        # What fits neither the backbone nor the one that the file itself names.
        ("{SIZE: [336, 336]}", "ViT-B/16", [], "SIZE is (336, 336), but ViT-B/16 was trained with (224, 224)"),
        ("{SIZE: [336, 336]}", "", ["--backbone", "RN50"], "SIZE is (336, 336), but RN50 was trained with (224, 224)"),
        ("{SIZE: [48, 48]}", "ViT-B/16", ["--backbone", "embedded"], "SIZE is (48, 48), but embedded was trained with"),
        ("{SIZE: [336, 336]}", "some.pt", ["--backbone", "RN50"], "SIZE is (336, 336), but RN50 was trained with"),
        ("{INTERPOLATION: bilinear}", "ViT-B/16", [], "INTERPOLATION is bilinear, but ViT-B/16 was trained with bicub"),
        ("{PIXEL_MEAN: [0.5, 0.5, 0.5]}", "ViT-B/16", [], "PIXEL_MEAN is [0.5, 0.5, 0.5], but ViT-B/16 was trained w"),
        ("{PIXEL_STD: [0.229, 0.224, 0.225]}", "RN50", [], "PIXEL_STD is [0.229, 0.224, 0.225], but RN50 was trained"),
    ],
)
def test_a_file_against_the_checkpoints_images(inputs, backbone, words, refused, tmp_path):
    path = tmp_path / "mine.yaml"
    named = f"MODEL: {{BACKBONE: {{NAME: '{backbone}'}}}}" if backbone else ""
    path.write_text(f"INPUT: {inputs}\n{named}")
    words = ["--trainer", "CoOp", *EUROSAT, "--config-file", str(path), *words]
    if refused:
        with pytest.raises(ValueError) as caught:
            build(*words)
        line = str(caught.value)
        assert line.startswith(f"{path}: INPUT.{refused}")
        assert line.endswith(": take it out of the file, or name the weights that it fits in MODEL.BACKBONE.NAME")
        return
    cfg = build(*words)
    assert all(same(cfg.INPUT[key], value) for key, value in images_of(cfg.MODEL.BACKBONE.NAME).items())


def test_a_data_sets_file_against_the_checkpoints_images(tmp_path):
    (tmp_path / "data.yaml").write_text("DATASET: {NAME: EuroSAT}\nINPUT: {SIZE: [336, 336]}")
    words = ["--dataset-config-file", str(tmp_path / "data.yaml"), "--trainer", "MMRL"]
    with pytest.raises(ValueError, match=r"/data.yaml: INPUT.SIZE is \(336, 336\), but RN50 was trained with"):
        build(*words, "--backbone", "RN50")
    assert build(*words, "--config-file", B16[-1]).INPUT.SIZE == (224, 224)  # the method's file comes later


def test_a_data_sets_override_against_the_checkpoints_images(tmp_path):
    (tmp_path / "mine.yaml").write_text("MODEL: {BACKBONE: {NAME: ViT-B/16}}")
    (tmp_path / "datasets.yaml").write_text("EuroSAT: {INPUT: {SIZE: [336, 336]}}")
    words = ["--trainer", "CoOp", "--config-file", str(tmp_path / "mine.yaml")]
    with pytest.raises(ValueError, match=r"/datasets.yaml: INPUT.SIZE is \(336, 336\), but ViT-B/16 was trained with"):
        build(*EUROSAT, *words)
    assert build(*DIGITS, *words).INPUT.SIZE == (224, 224)
