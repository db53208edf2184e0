"""`mmrl.py export`: programs that score as the classifier does, or no files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torchvision import transforms as T

from classify import load_classifier, program
from classify.images import class_folders
from commands import export
from tests.classify.conftest import BASE, NEW


def read(paths, about):
    """Images made ready from what classifier.json says alone."""
    steps = about["preprocessing"]
    mode = T.InterpolationMode(steps["interpolation"])
    prepare = T.Compose(
        [
            T.Resize(steps["resize_shorter_side"], mode, antialias=steps["antialias"]),
            T.CenterCrop(steps["center_crop"]),
            T.ToTensor(),
            T.Normalize(steps["mean"], steps["std"]),
        ]
    )
    return torch.stack([prepare(Image.open(path).convert(steps["mode"])) for path in paths])


def onnx_scores(folder, about, batch, name="classifier.onnx"):
    session = onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run([about["output"]["name"]], {about["input"]["name"]: batch.numpy()})[0])


def test_exported_programs_score_real_images_as_the_classifier_does(exported, mmrl_run, digits):
    about = json.loads((exported / "classifier.json").read_text())
    classifier = load_classifier(mmrl_run, device="cpu", precision="fp32")
    paths = sorted(digits.rglob("[0-9].png"))
    batches = read(paths, about)
    loaded = torch.export.load(exported / "classifier.pt2").module()
    for rows in (slice(0, 10), slice(0, 1), slice(3, 5)):
        wanted = classifier.predict(paths[rows]).flip(-1)
        assert (onnx_scores(exported, about, batches[rows]) - wanted).abs().max() < 1e-4
        assert (loaded(batches[rows]) - wanted).abs().max() < 1e-4
    assert classifier.predict(paths).max() > 0.5  # probabilities that say something


def test_the_files_say_what_they_are(exported):
    files = ["classifier.int8.onnx", "classifier.json", "classifier.onnx", "classifier.pt2", "classify.py"]
    assert sorted(os.listdir(exported)) == files
    about = json.loads((exported / "classifier.json").read_text())
    assert about["classes"] == BASE[::-1] and about["method"] == "MMRL" and about["seen"] is True
    assert about["input"] == {"name": "images", "shape": ["batch", 3, 32, 32], "type": "float32"}
    assert about["output"] == {"name": "probabilities", "shape": ["batch", 5], "type": "float32"}
    assert len(about["run_id"]) == 32 and len(about["weights"]) == 16
    for file in about["files"].values():
        content = (exported / file["name"]).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (file["sha256"], file["bytes"])
        assert 0 <= file["largest_difference"] <= 1e-4 or file["name"] == "classifier.int8.onnx"
    model = onnx.load(exported / "classifier.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.output] == ["probabilities"]


def test_weights_of_8_bits_are_measured(exported, mmrl_run, digits):
    """Its size, the differences that it states, and its accuracy; matrix products are what is in bytes."""
    about = json.loads((exported / "classifier.json").read_text())
    plain, int8 = (about["files"][form] for form in ("onnx", "int8"))
    assert int8["bytes"] < 0.3 * plain["bytes"] and int8["largest_difference"] > int8["mean_difference"] > 1e-5
    kinds = [node.op_type for node in onnx.load(exported / "classifier.int8.onnx").graph.node]
    assert kinds.count("MatMulInteger") > 20 and "Gemm" not in kinds
    classifier = load_classifier(mmrl_run, BASE[::-1], device="cpu")
    paths, labels = class_folders(str(exported.parent / "check"), BASE[::-1])
    right = (classifier.predict(paths).argmax(1) == torch.tensor(labels)).sum()
    assert labels == [0, 0, 3, 3] and plain["accuracy"] == 25 * right
    batch = read(sorted(digits.rglob("[0-9].png")), about)
    scores = [onnx_scores(exported, about, batch, file["name"]) for file in (plain, int8)]
    assert 1e-5 < (scores[0] - scores[1]).abs().max() < 0.15 and int8["accuracy"] in (0, 25, 50, 75, 100)


def test_what_cannot_be_checked_is_one_line(call, mmrl_run, digits, tmp_path):
    words = ["--model-dir", mmrl_run, "--out", tmp_path / "out", "--check"]
    (tmp_path / "folders/heron").mkdir(parents=True)
    for folder, line in (
        ("none", f"there is no folder {tmp_path}/none"),
        ("folders/heron", f"there are no folders of classes in {tmp_path}/folders/heron"),
        ("folders", f"{tmp_path}/folders/heron is none of the classes, which are zero, one, two, three, four: rename"),
    ):
        status, _, err = call(export, *words, tmp_path / folder)
        assert status == 1 and err.splitlines()[-1].startswith(f"error: {line}") and not (tmp_path / "out").exists()
    for option in (["--int8"], ["--check", digits]):
        with pytest.raises(SystemExit):
            call(export, *words[:4], "--format", "torch", *option)


@pytest.mark.slow
def test_the_text_tower_stays_behind(exported):
    names = torch.export.load(exported / "classifier.pt2").state_dict
    assert any("visual" in name for name in names) and not any("token_embedding" in name for name in names)


@pytest.mark.slow
def test_new_classes_as_onnx_with_an_opset(call, mmrl_run, digits, tmp_path):
    words = ["--model-dir", mmrl_run, "--out", tmp_path, "--classes", ",".join(NEW[:3])]
    assert call(export, *words, "--format", "onnx", "--opset", 18)[0] == 0
    model = onnx.load(tmp_path / "classifier.onnx")
    assert {entry.version for entry in model.opset_import if not entry.domain} == {18}
    about = json.loads((tmp_path / "classifier.json").read_text())
    paths = sorted(digits.rglob("[0-9].png"))
    wanted = load_classifier(mmrl_run, NEW[:3], device="cpu").predict(paths)
    assert (onnx_scores(tmp_path, about, read(paths, about)) - wanted).abs().max() < 1e-4


def test_one_format_an_opset_and_an_earlier_export(call, exported, mmrl_run, tmp_path, monkeypatch):
    """With the ONNX file that is there in place of torch's, which gets the version that was asked for."""
    asked, there = [], exported / "classifier.onnx"

    def stored(exported, arguments, path, opset_version, external_data, **options):
        asked.append(opset_version)
        shutil.copy(there, path)

    monkeypatch.setattr(program, "trace", lambda *_: None)
    monkeypatch.setattr(torch.onnx, "export", stored)
    out = tmp_path / "out"
    words = ["--model-dir", mmrl_run, "--out", out, "--format", "onnx", "--opset", 18, "--classes"]
    status, printed, _ = call(export, *words, ",".join(BASE[::-1]))
    files = ["classifier.json", "classifier.onnx", "classify.py"]
    assert status == 0 and printed.splitlines()[-1] == f"{out}/classifier.json: 5 classes"
    assert asked == [18] and sorted(os.listdir(out)) == files
    status, _, err = call(export, *words, ",".join(NEW))  # which the file that is there does not score
    assert status == 1 and "all of them are scored as new classes" in err
    assert err.splitlines()[-1].startswith("error: classifier.onnx is not kept: its probabilities differ from ")
    status, _, err = call(export, "--model-dir", mmrl_run, "--out", out, "--format", "torch")
    line = f"error: {out} holds classifier.onnx of an earlier export: remove it or choose another folder\n"
    assert (status, err) == (1, line) and sorted(os.listdir(out)) == files
    (out / "classify.py").write_text("print('mine')")
    status, _, err = call(export, *words, ",".join(BASE))
    assert status == 1 and "holds a classify.py that is edited, or of an earlier export: remove it" in err


def test_a_zero_shot_run(call, zero_shot_run, tmp_path, monkeypatch):
    """Traced and scored, but not saved and loaded, which is the same for all methods."""
    monkeypatch.setattr(program, "write_torch", lambda traced, path: path.touch() or traced.module())
    status, printed, _ = call(export, "--model-dir", zero_shot_run, "--out", tmp_path, "--format", "torch")
    about = json.loads((tmp_path / "classifier.json").read_text())
    assert status == 0 and (about["classes"], about["epoch"], about["seen"]) == (NEW, None, None)


@pytest.mark.parametrize("wrong", [1.1e-4, -1.1e-4, float("nan"), float("inf")])
@pytest.mark.parametrize("size", [1, 3])
def test_a_wrong_probability_at_one_batch_size_is_seen(wrong, size):
    def honest(images):
        return images.flatten(1)[:, :2]

    def off(images):
        found = honest(images).clone()
        found[-1, 1] += wrong if len(images) == size and images[-1, 0, 0, 0] == 0.5 else 0
        return found

    samples = torch.arange(6).reshape(6, 1, 1, 1).expand(6, 3, 2, 2) / 10
    assert program.compare(honest, honest, samples, "x.pt2") == 0
    with pytest.raises(
        ValueError, match=r"^x\.pt2 is not kept: its probabilities differ from PyTorch's by .*, more than 0"
    ):
        program.compare(off, honest, samples, "x.pt2")


def test_a_program_that_scores_otherwise_is_not_kept(call, mmrl_run, tmp_path, monkeypatch):
    def off(exported, path):
        path.write_bytes(b"wrong")
        return lambda images: torch.zeros(len(images), 5)

    monkeypatch.setattr(program, "trace", lambda *_: None)
    monkeypatch.setattr(program, "write_torch", off)
    status, out, err = call(export, "--model-dir", mmrl_run, "--out", tmp_path, "--format", "torch")
    assert (status, out, os.listdir(tmp_path)) == (1, "", [])
    assert err.startswith("error: classifier.pt2 is not kept: its probabilities differ from PyTorch's by ")


def test_what_torch_cannot_export_is_one_line(call, mmrl_run, tmp_path, monkeypatch):
    def untraceable(self, images):
        return images[:, 0, 0, : int(images.sum())]

    monkeypatch.setattr(program.Program, "forward", untraceable)
    status, out, err = call(export, "--model-dir", mmrl_run, "--out", tmp_path, "--format", "torch")
    assert (status, out, os.listdir(tmp_path)) == (1, "", [])
    assert err.splitlines()[-1].startswith(
        f"error: torch {torch.__version__} cannot export this as a torch.export program: "
    )


def test_missing_packages_are_named_before_any_work(call, mmrl_run, tmp_path, monkeypatch):
    monkeypatch.setattr(program.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else True)
    status, _, err = call(export, "--model-dir", mmrl_run, "--out", tmp_path / "out")
    assert (status, err) == (1, "error: ONNX export needs onnxscript: pip install -r requirements.txt\n")
    assert not (tmp_path / "out").exists()


def test_a_model_without_finite_probabilities_is_not_exported(call, mmrl_run, tmp_path, monkeypatch):
    monkeypatch.setattr(program.Program, "forward", lambda self, images: images.mean(dim=(1, 2)) * float("nan"))
    status, out, err = call(export, "--model-dir", mmrl_run, "--out", tmp_path / "out")
    line = "MMRL gives probabilities that are NaN or infinite: nothing is exported; train it again"
    assert (status, out, err) == (1, "", f"error: {line}\n") and not list((tmp_path / "out").glob("*"))
