"""The package as others see it: names, light import, configs."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import datasets
from dassl.data.datasets import DATASET_REGISTRY

ROOT = Path(__file__).resolve().parents[2]
# Without a user's copies of these two.
ORIGINALS = {"ImageFolder": "imagefolder", "Table": "table"}
CONFIGS = sorted(
    path
    for path in (ROOT / "configs/datasets").rglob("*.yaml")
    if path.stem == ORIGINALS.get(yaml.safe_load(path.read_text())["DATASET"]["NAME"], path.stem)
)
PUBLIC_DASSL = {"DATASET_REGISTRY", "DatasetBase", "Datum"}


def test_every_config_names_a_loader():
    assert len(CONFIGS) == 25
    named = [yaml.safe_load(path.read_text()) for path in CONFIGS]
    for config in named:
        own = {"ImageFolder": {"FOLDER", "TEMPLATE"}, "Table": {"FOLDER", "TABLE", "TEMPLATE"}}
        assert set(config) == {"DATASET"}
        assert set(config["DATASET"]) == {"NAME"} | own.get(config["DATASET"]["NAME"], set())
    assert {config["DATASET"]["NAME"] for config in named} == set(datasets.NAMES)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_and_module_have_one_name(path):
    """As in CoOp: ``configs/datasets/dtd.yaml`` and ``import datasets.dtd`` mean the same dataset.

    The variants of drawn_letters are in its file.
    """
    kind, *rest = path.stem.split("_")
    place = (
        f"drawn.{rest[0]}" if kind == "drawn" else f"own.{path.stem}" if path.stem in ORIGINALS.values() else path.stem
    )
    module = importlib.import_module(f"datasets.{place}")
    name = yaml.safe_load(path.read_text())["DATASET"]["NAME"]
    assert getattr(module, name) is DATASET_REGISTRY.get(name)


def test_names_need_no_torch():
    code = "import sys, datasets; assert len(datasets.NAMES) == 25; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_loading_twice_is_harmless():
    datasets.load_all()
    datasets.load_all()
    assert set(datasets.NAMES) <= set(DATASET_REGISTRY.registered_names())


def test_imports_only_public_dassl_and_itself():
    files = [path for path in (ROOT / "datasets").rglob("*.py") if path.parent.name != "prepare"]
    assert len(files) > 35
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                top = node.module.split(".")[0]
                assert top not in {"clip", "trainers", "runs"}, path
                if top == "dassl":
                    assert node.module == "dassl.data.datasets", path
                    assert {alias.name for alias in node.names} <= PUBLIC_DASSL, path
