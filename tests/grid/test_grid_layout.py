"""The names and commands of runs: those of the scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import train
from runs import scripts
from runs.grid.expand import Grid, expand
from runs.protocols import Run, choose_config, tag

ROOT = Path(train.__file__).parent


def script(name: str, *words: str, **environment: str) -> list[str]:
    """The arguments of train.py that a script would give."""
    return scripts.run_of(ROOT / "scripts" / name, words, environment).arguments("images", "runs here")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("b2n/base2new_train.sh", ["digits", "1", "MMRL", "--", "OPTIM.LR", "0.1"]),
        ("b2n/base2new_test.sh", ["digits", "1", "", "a b"]),
        ("fewshot/fewshot.sh", ["digits", "1", "4"]),
        ("xd/xd_train.sh", []),
        ("xd/xd_test.sh", ["-h"]),
        ("compare.sh", ["digits", "MMRL CoOp", "1 2"]),
        ("reproduce.sh", ["table1", "--list"]),
    ],
)
def test_a_script_hands_its_words_to_python(name, words, tmp_path):
    """As they are, wherever its user stands."""
    python = tmp_path / "my python"
    python.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    python.chmod(0o755)
    path = str(ROOT / "scripts" / name)
    environment = {**os.environ, "PYTHON": str(python)}
    done = subprocess.run(["bash", path, *words], env=environment, cwd=tmp_path, capture_output=True, text=True)
    program, *arguments = json.loads(done.stdout)
    assert Path(program).resolve() == ROOT / "mmrl.py" and arguments == ["script", path, *words]


@pytest.mark.parametrize(
    ("dataset", "method"),
    [
        ("digits", "MMRL"),
        ("drawn_letters_v2", "TCP"),
        ("caltech101", "MMA"),
        ("imagenet", "CoOp"),
        ("dtd", "ZeroshotCLIP2"),
    ],
)
def test_commands_are_those_of_the_scripts(dataset, method):
    options = ("OPTIM.LR", "0.1", "TRAIN.PRINT_FREQ", "3")
    common = {"methods": [method], "seeds": [7], "options": options}

    def commands(**grid):
        return [run.arguments("images", "runs here") for run in expand([Grid(**grid, **common)])]

    assert commands(protocol="base2new", datasets=[dataset]) == [
        script(f"b2n/base2new_{half}.sh", dataset, "7", method, "--", *options) for half in ("train", "test")
    ]
    assert commands(protocol="joint", datasets=[dataset]) == [
        script(f"b2n/{step}.sh", dataset, "7", method, "--", *options) for step in ("base2new_train", "joint_test")
    ]
    for shots in (1, 4, 16):
        assert commands(protocol="fewshot", datasets=[dataset], shots=[shots]) == [
            script("fewshot/fewshot.sh", dataset, "7", str(shots), method, "--", *options)
        ]
    for source in ("imagenet", "eurosat", "drawn_letters"):
        assert commands(protocol="xd", datasets=[dataset, "sun397"], source=source) == [
            script("xd/xd_train.sh", "7", method, "--", *options, SOURCE=source),
            script("xd/xd_test.sh", dataset, "7", method, "--", *options, SOURCE=source),
            script("xd/xd_test.sh", "sun397", "7", method, "--", *options, SOURCE=source),
        ]


def test_a_given_configuration_is_taken():
    (run,) = expand([Grid("fewshot", ["dtd"], cfg="vit_b16", seeds=[0])])
    assert run.arguments("images", "runs here") == script("fewshot/fewshot.sh", "dtd", "0", "16", "MMRL", "vit_b16")


def test_a_changed_setting_is_in_the_name_and_in_the_command():
    run = Run("fewshot", "dtd", "MMRL", "vit_b16", 4, 2, (("OPTIM.LR", "0.1"), ("TRAINER.MMRL.REP_DIM", "32")))
    assert run.name == "few_shot/dtd/shots_4/MMRL/vit_b16+OPTIM.LR=0.1+REP_DIM=32/seed2"
    words = run.arguments("data", "output")
    assert words[words.index("--output-dir") + 1] == f"output/{run.name}"
    assert words[words.index("--config-file") + 1].endswith("configs/trainers/MMRL/vit_b16.yaml")
    assert words[-4:] == ["OPTIM.LR", "0.1", "TRAINER.MMRL.REP_DIM", "32"]


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("TRAINER.MMRL.REP_LAYERS", "[6, 7, 12]", "REP_LAYERS=6_7_12"),
        ("TRAINER.COMPILE", "True", "TRAINER.COMPILE=True"),
        ("TRAINER.COOP.CTX_INIT", "a photo/of a", "CTX_INIT=a_photo_of_a"),
        ("OPTIM.LR", "1e-05", "OPTIM.LR=1e-05"),
        ("TRAINER.MMRL.VARIANT", "wo_L", "VARIANT=wo_L"),
    ],
)
def test_tags(key, value, name):
    assert tag(key, value) == name


def test_a_configuration_that_is_not_there_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="MMRL has no configuration vit_b61; did you mean vit_b16"):
        choose_config("base2new", "dtd", "MMRL", 16, "vit_b61")
