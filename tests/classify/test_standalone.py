"""classify.py of an exported folder: as the classifier reads and scores, without torch and this project."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from classify import load_classifier, standalone
from classify.load import preprocessing
from dassl.config import get_cfg_default
from dassl.data.transforms import build_transform
from dassl.utils.images import Reading, read_image
from tests.classify.conftest import BASE
from tests.dassl.test_images import CASES, png

# None of these modules can be imported there.
ALONE = """
import json, runpy, sys
sys.modules.update(dict.fromkeys(("torch", "torchvision", "sklearn", "common", "dassl", "classify")))
folder, *paths = sys.argv[1:]
classifier = runpy.run_path(f"{folder}/classify.py")["Classifier"](folder)
print(json.dumps(classifier.predict(paths).tolist()))
"""


@pytest.fixture(scope="module")
def odd_images(tmp_path_factory) -> list[Path]:
    """Images of all modes, of many shapes, turned and damaged in their EXIF."""
    folder = tmp_path_factory.mktemp("odd")
    noise = np.random.default_rng(0).integers(0, 256, (47, 33, 4), dtype=np.uint8)
    colours = Image.fromarray(noise)
    for mode, suffix in (("1", "png"), ("L", "png"), ("LA", "png"), ("P", "gif"), ("RGBA", "png"), ("CMYK", "jpg")):
        colours.convert("RGB" if mode == "P" else "RGBA").convert(mode).save(folder / f"{mode}.{suffix}")
    palette = colours.convert("P")
    palette.save(folder / "clear.png", transparency=bytes(range(256)))
    palette.save(folder / "clear.gif", transparency=3)
    for turn in range(10):
        exif = Image.Exif()
        exif[274] = turn
        colours.convert("RGB").resize((200, 31 + turn)).save(folder / f"turn{turn}.jpg", exif=exif)
    colours.convert("RGB").save(folder / "broken_exif.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12")
    Image.fromarray(noise.view(np.uint16)[..., 0]).save(folder / "deep.tif")
    Image.fromarray(noise.view(np.uint16)[..., 0]).save(folder / "white_is_zero.tif", tiffinfo={262: 0})
    row = [struct.pack(">2H", 0x0701, 0xF702)] * 2
    png(folder / "deep_clear.png", 16, 0, row, tRNS=struct.pack(">H", 0x0701))
    return [*sorted(folder.iterdir()), CASES / "sixteen_bit.png", CASES / "orientation_6.jpg"]


@pytest.mark.parametrize("upright", [True, False])
def test_pixels_are_those_of_the_project(odd_images, upright):
    assert len(odd_images) > 20 and len(Path(standalone.__file__).read_text().splitlines()) < 80
    for path in odd_images:
        wanted = np.asarray(read_image(path, Reading(upright)))
        assert np.array_equal(np.asarray(standalone.read(path, upright)), wanted), path
    with pytest.raises(ValueError, match="^it has 32 bits a pixel: save it with 8 or 16$"):
        standalone.read(CASES / "int32.tif", upright)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
def test_images_are_made_ready_as_by_the_classifier(exported, odd_images, interpolation):
    cfg = get_cfg_default()
    cfg.INPUT.SIZE, cfg.INPUT.INTERPOLATION = (30, 21), interpolation
    cfg.INPUT.TRANSFORMS = ("normalize", "instance_norm") if interpolation == "bilinear" else ("normalize",)
    alone = standalone.Classifier(exported)
    alone.steps, prepare = preprocessing(cfg), build_transform(cfg, is_train=False)
    for path in odd_images:
        assert np.allclose(alone.prepare(path)[0], prepare(read_image(path)).numpy(), rtol=0, atol=1e-5), path


def agrees(python: str, exported: Path, mmrl_run: Path, paths: list[Path], place: Path) -> None:
    words = [python, "-I", "-c", ALONE, exported, *paths]
    done = subprocess.run(words, cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wanted = load_classifier(mmrl_run, BASE[::-1], device="cpu", precision="fp32").predict(paths)
    assert (torch.tensor(json.loads(done.stdout)) - wanted).abs().max() < 1e-4


def test_it_needs_neither_torch_nor_the_project(exported, mmrl_run, odd_images, tmp_path):
    agrees(sys.executable, exported, mmrl_run, odd_images, tmp_path)


@pytest.mark.slow
def test_three_packages_are_enough(exported, mmrl_run, odd_images, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python")
    words = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "onnxruntime", "numpy", "pillow"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the packages cannot be had here: {done.stderr.strip().splitlines()[-1]}")
    agrees(python, exported, mmrl_run, odd_images, tmp_path)


def test_the_command(exported, mmrl_run, digits, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    words = [sys.executable, "-I", exported / "classify.py", digits, tmp_path / "bad.png", "--top", "2"]
    more = ([], ["--model", "classifier.int8.onnx"])
    plain, int8 = (subprocess.run([*words, *one], cwd=tmp_path, capture_output=True, text=True) for one in more)
    assert plain.returncode == 1 and plain.stderr.startswith(f"error: cannot read {tmp_path}/bad.png: ")
    paths = sorted(digits.rglob("[0-9].png"))
    classifier = load_classifier(mmrl_run, BASE[::-1], device="cpu")
    tops = classifier.top(classifier.predict(paths), 2)
    rows = [line.replace(" ", "\t").split("\t") for line in plain.stdout.splitlines()]
    assert [[row[0], row[1], row[3]] for row in rows] == [
        [str(path), *(name for name, _ in top)] for path, top in zip(paths, tops, strict=True)
    ]
    percent = [[100 * p for _, p in top] for top in tops]
    assert np.allclose(np.array([row[2::2] for row in rows], float), percent, rtol=0, atol=0.06)
    assert plain.stdout != int8.stdout and len(int8.stdout.splitlines()) == len(paths)
