"""Names, defaults, registries, files and logs."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dassl.config import get_cfg_default
from dassl.utils import (
    Registry,
    check_availability,
    collect_env_info,
    read_image,
    read_json,
    set_random_seed,
    setup_logger,
    tolist_if_not,
    write_json,
)
from dassl.utils.meters import AverageMeter, MetricMeter

PINNED_DEFAULTS = {
    "VERSION": 1,
    "OUTPUT_DIR": "./output",
    "RESUME": "",
    "SEED": -1,
    "USE_CUDA": True,
    "VERBOSE": True,
    "INPUT.SIZE": (224, 224),
    "INPUT.INTERPOLATION": "bilinear",
    "INPUT.TRANSFORMS": (),
    "INPUT.PIXEL_MEAN": [0.485, 0.456, 0.406],
    "INPUT.PIXEL_STD": [0.229, 0.224, 0.225],
    "INPUT.RRCROP_SCALE": (0.08, 1.0),
    "DATASET.NUM_SHOTS": -1,
    "DATASET.NUM_LABELED": -1,
    "DATASET.VAL_PERCENT": 0.1,
    "DATALOADER.NUM_WORKERS": 4,
    "DATALOADER.K_TRANSFORMS": 1,
    "DATALOADER.TRAIN_X.SAMPLER": "RandomSampler",
    "DATALOADER.TRAIN_X.BATCH_SIZE": 32,
    "DATALOADER.TRAIN_X.N_INS": 16,
    "DATALOADER.TRAIN_U.SAME_AS_X": True,
    "DATALOADER.TEST.SAMPLER": "SequentialSampler",
    "DATALOADER.TEST.BATCH_SIZE": 32,
    "MODEL.BACKBONE.PRETRAINED": True,
    "OPTIM.NAME": "adam",
    "OPTIM.LR": 0.0003,
    "OPTIM.WEIGHT_DECAY": 5e-4,
    "OPTIM.MOMENTUM": 0.9,
    "OPTIM.SGD_DAMPNING": 0,
    "OPTIM.SGD_NESTEROV": False,
    "OPTIM.ADAM_BETA1": 0.9,
    "OPTIM.ADAM_BETA2": 0.999,
    "OPTIM.STAGED_LR": False,
    "OPTIM.LR_SCHEDULER": "single_step",
    "OPTIM.STEPSIZE": (-1,),
    "OPTIM.GAMMA": 0.1,
    "OPTIM.MAX_EPOCH": 10,
    "OPTIM.WARMUP_EPOCH": -1,
    "OPTIM.WARMUP_TYPE": "linear",
    "OPTIM.WARMUP_CONS_LR": 1e-5,
    "OPTIM.WARMUP_MIN_LR": 1e-5,
    "OPTIM.WARMUP_RECOUNT": True,
    "TRAIN.CHECKPOINT_FREQ": 0,
    "TRAIN.PRINT_FREQ": 10,
    "TRAIN.COUNT_ITER": "train_x",
    "TEST.EVALUATOR": "Classification",
    "TEST.PER_CLASS_RESULT": False,
    "TEST.COMPUTE_CMAT": False,
    "TEST.NO_TEST": False,
    "TEST.SPLIT": "test",
    "TEST.FINAL_MODEL": "last_step",
}


def test_defaults_are_those_of_dassl() -> None:
    for key, expected in PINNED_DEFAULTS.items():
        node = get_cfg_default()
        for part in key.split("."):
            node = node[part]
        assert node == expected and type(node) is type(expected), key


def test_defaults_are_a_fresh_copy() -> None:
    get_cfg_default().DATALOADER.TRAIN_X.BATCH_SIZE = 1
    assert get_cfg_default().DATALOADER.TRAIN_X.BATCH_SIZE == 32


def test_configuration_and_registry_do_not_import_torch() -> None:
    code = "import sys, dassl.config, dassl.utils, dassl.utils.registry; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_registry_refuses_unknown_and_second_names() -> None:
    registry = Registry("ANIMAL")

    @registry.register()
    class Camel: ...

    assert registry.get("Camel") is Camel
    assert registry.registered_names() == ["Camel"]
    with pytest.raises(ValueError, match="unknown ANIMAL 'camle'; did you mean 'Camel'?"):
        registry.get("camle")
    with pytest.raises(ValueError, match="already registered"):
        registry.register(Camel)
    assert registry.register(Camel, force=True) is Camel
    with pytest.raises(ValueError, match="available: a, b"):
        check_availability("zzz", ["a", "b"])


def test_seeding_reaches_all_generators() -> None:
    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    set_random_seed(0)
    first = draws()
    assert draws() != first
    set_random_seed(0)
    assert draws() == first


def test_logger_appends_and_keeps_progress_bars_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    (tmp_path / "log.txt").write_text("earlier\n")
    setup_logger(tmp_path)
    setup_logger(tmp_path)  # a second call must not write lines twice
    print("result")
    print("warning", file=sys.stderr)
    sys.stderr.write("\r 50%")
    assert (tmp_path / "log.txt").read_text() == "earlier\nresult\nwarning\n"
    out, err = capsys.readouterr()
    assert (out, err) == ("result\n", "warning\n\r 50%")
    setup_logger(None)
    setup_logger(tmp_path / "other.log")
    print("moved")
    sys.stdout.file.write("caf\udce9\n")  # a file name that is not UTF-8
    assert (tmp_path / "other.log").read_text() == "moved\ncaf\\udce9\n"


def test_meters() -> None:
    meter = MetricMeter()
    meter.update({"loss": 1.0, "acc": torch.tensor(50.0)})
    meter.update({"loss": 2.0, "acc": torch.tensor([100.0])})
    meter.update(None)
    assert str(meter) == "loss 2.0000 (1.5000) acc 100.0000 (75.0000)"
    with pytest.raises(TypeError, match="dict"):
        meter.update(3.0)  # type: ignore[arg-type]
    ema = AverageMeter(ema=True)
    ema.update(1.0)
    ema.update(2.0)
    assert ema.avg == pytest.approx(1.1)


def test_images_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    with pytest.raises(OSError, match="cannot read image .*broken.jpg: not an image file"):
        read_image(broken)
    with pytest.raises(FileNotFoundError, match="no image file at .*gone.jpg"):
        read_image(tmp_path / "gone.jpg")


def test_small_helpers(tmp_path: Path) -> None:
    write_json({"a": [1]}, tmp_path / "new" / "x.json")
    assert read_json(tmp_path / "new" / "x.json") == json.loads('{"a": [1]}')
    assert tolist_if_not("a") == ["a"] and tolist_if_not(["a"]) == ["a"]
    assert f"PyTorch: {torch.__version__}" in collect_env_info().splitlines()
