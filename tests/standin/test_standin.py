"""Trainers, data sets and `train.py` on the public Dassl: a stand-in of exactly its names, keys and arguments."""

from __future__ import annotations

import ast
import inspect
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import trainers
from runs import engine
from tests.runs.resolved import method_files
from tests.standin import behaviour, drive, install, surface, workplace
from tests.standin.behaviour import config
from tests.trainers.conftest import data_root  # noqa: F401
from trainers.shared.engine import ELSEWHERE, LOST

ROOT = workplace.ROOT
# Of both forms (steps, one fit), with own loaders and a selection.
QUICK = ("CoOp", "MMRL", "ProVP", "TipAdapter", "LinearProbe")
# What the list of attributes does not see, which are those set by a plain assignment: targets of loops and of tuples.
ALSO_SET = {"TrainerBase": {"epoch"}, "TrainerX": {"batch_idx"}, "DatasetBase": {"_lab2cname", "_classnames"}}
FEW = "DATASET.NUM_SHOTS 2 DATASET.SUBSAMPLE_CLASSES base OPTIM.MAX_EPOCH 1 USE_CUDA False"


def of_behaviour(module: str, name: str) -> Any:
    """What has a behaviour under a listed name at home in a module, or None."""
    if surface.source(surface.SURFACE[module][name]):
        return None
    home = __import__(f"tests.standin.behaviour.{behaviour.HOMES[module]}", fromlist=["*"])
    return getattr(home, name, None)


def signature(function: Any) -> str:
    return str(inspect.signature(function))


@pytest.mark.parametrize("module", behaviour.HOMES)
def test_a_behaviour_has_no_more_than_the_list(module):
    for name, listed in surface.SURFACE[module].items():
        found = of_behaviour(module, name)
        if inspect.isfunction(found):
            assert signature(found) == listed, name
        elif inspect.isclass(found):
            check_class(found, listed)
        else:
            assert found is None or type(found).__name__ == listed, name


def check_class(found: type, listed: dict[str, Any]) -> None:
    renamed = {"LRScheduler": "_LRScheduler"}  # of torch, since 2.0
    assert [renamed.get(base.__name__, base.__name__) for base in found.__bases__] == listed["bases"]
    members = {name: member for name, member in vars(found).items() if name == "__init__" or not is_dunder(name)}
    assert members.keys() <= listed["members"].keys()
    for name, member in members.items():
        if inspect.isfunction(member):
            assert signature(member) == listed["members"][name], name
        elif isinstance(member, property):
            assert listed["members"][name] == "property"
    tree = ast.parse(inspect.getsource(found))
    places = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
    inherited = ALSO_SET.get(found.__name__, set())
    assert {node.attr for node in places} <= {*listed["sets_on_self"], *inherited}


def is_dunder(name: str) -> bool:
    return name.startswith("__") or name == "_abc_impl"


def test_what_is_not_listed_does_not_exist():
    module: ModuleType = install.StandInModule("dassl.engine")
    with pytest.raises(AttributeError, match=r"^the public dassl\.engine has no Preempted$"):
        module.Preempted  # noqa: B018
    cfg = config.get_cfg_default()
    for group, keys in ELSEWHERE.items():
        assert not keys.keys() & cfg[group].keys()
    with pytest.raises(NotImplementedError, match="clean_cfg"):
        install.StandInModule("dassl.config").clean_cfg(cfg, "MMRL")


def test_every_configuration_loads_into_the_public_defaults():
    """By yacs's own merge, which takes no integer for a float."""
    assert len(files := method_files()) > 90
    for path in files:
        cfg = config.get_cfg_default()
        trainers.extend_cfg(cfg)
        trainers.merge_from_file(cfg, str(path))
        assert cfg.INPUT.READ == "stored" and cfg.DATALOADER.CACHE_GB == 0.0


def test_pixels_that_another_dassl_would_not_give_are_refused(monkeypatch):
    cfg = config.get_cfg_default()
    trainers.extend_cfg(cfg)
    cfg.INPUT.READ = "upright"
    engine.check(cfg)
    monkeypatch.setattr(trainers.shared.engine, "OURS", False)
    with pytest.raises(ValueError) as caught:
        engine.check(cfg)
    assert str(caught.value) == (
        "INPUT.READ upright needs this project's Dassl, and another one is installed: put this project before it on "
        "PYTHONPATH, or add INPUT.READ stored (no turning by EXIF, 16-bit greys are clipped)"
    )


@pytest.fixture(scope="module")
def public(tmp_path_factory) -> Path:
    """A folder with the project and the stand-in."""
    return workplace.furnish(tmp_path_factory.mktemp("standin") / "public")


@pytest.fixture(scope="module")
def data(data_root) -> Path:  # noqa: F811
    return data_root


def compare(found: dict[str, Any], method: str, data: Path, output: Path) -> None:
    theirs = found["found"][method]
    assert theirs == drive.train(method, data, output)
    assert theirs["accuracy"][-1] > 25  # of five classes
    assert [name for name, file in found["files"].items() if file] == ["dassl"]  # nothing of ours


def test_methods_train_and_test_on_the_public_dassl_as_on_ours(python, public, data, tmp_path, monkeypatch):
    """The losses of all steps, the accuracies and the learned tensors are equal to the last bit."""
    monkeypatch.chdir(ROOT)
    drive.datasets.load_all()
    found = workplace.drive(python, public, data, *QUICK)
    for method in QUICK:
        compare(found, method, data, tmp_path)


@pytest.mark.slow
def test_the_other_methods_do_so_too(python, public, data, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    drive.datasets.load_all()
    others = [method for method in trainers.METHODS if method not in QUICK]
    found = workplace.drive(python, public, data, *others)
    for method in others:
        compare(found, method, data, tmp_path)


def test_train_py_runs_on_the_public_dassl_and_says_what_is_lost(python, public, data):
    words = (
        f"train.py --root {data} --output-dir run --seed 1 --trainer MMRL --config-file "
        f"configs/trainers/MMRL/embedded.yaml --dataset-config-file configs/datasets/digits.yaml {FEW}"
    )
    done = workplace.run(python, public, *words.split())
    assert done.returncode == 0, done.stderr
    log = (public / "run/log.txt").read_text()
    assert log.count(LOST) == 1 and "* accuracy: " in log and "epoch [1/1] batch [2/2] time " in log
    record = json.loads((public / "run/record.json").read_text())
    assert (record["status"], record["engine"], record["notes"]["engine"]) == ("success", "public", LOST)
    assert record["config"]["run.engine"] == "public" and record["accuracy"] > 25
    assert not {"phase_seconds", "ms_per_training_image", "waited"} & record.keys()


@pytest.mark.slow
def test_own_data_are_not_read_otherwise_in_silence(python, public, data, tmp_path):
    for part in ("one", "two"):
        (tmp_path / part).mkdir()
        for number in range(6):
            shutil.copy(next((data / "digits").rglob("*.png")), tmp_path / part / f"{number}.png")
    words = (
        f"train.py --output-dir own --seed 1 --trainer ZeroshotCLIP --root {tmp_path} "
        "--dataset-config-file configs/datasets/imagefolder.yaml "
        f"--config-file configs/trainers/ZeroshotCLIP/embedded.yaml DATASET.FOLDER {tmp_path}"
    ).split()
    refused = workplace.run(python, public, *words)
    assert refused.returncode == 1 and refused.stderr.startswith("error: INPUT.READ upright needs this project's Dassl")
    assert not (public / "own").exists()
    done = workplace.run(python, public, *words, "INPUT.READ", "stored")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_every_loader_reads_its_data_on_the_public_dassl(python, public):
    """The data sets' own tests, in the folder with the stand-in."""
    for name in ("datasets", "data"):
        shutil.copytree(ROOT / "tests" / name, public / "tests" / name)
    shutil.copy(ROOT / "tests/conftest.py", public / "tests")
    tests = [f"tests/datasets/test_{name}.py" for name in ("loaders", "own_forms", "sampling")]
    done = workplace.run(python, public, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    assert done.returncode == 0, done.stdout
