"""The benchmarks on a tiny CLIP: they compare like with like, refuse a wrong path, and print what was measured."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

import reference
from benchmarks import cases, common, features, inference, launches, measure, memory, methods, train_step
from clip import tokenize
from tests.often import some_often
from trainers.shared.templates import TEMPLATES, fill

TINY = cases.Size(embed=16, res=16, patch=8, vision=(64, 12), text=(64, 12))  # as deep as settings expect
WIDE = cases.Size(embed=64, res=32, patch=16, vision=(128, 12), text=(64, 12))
CASE = cases.Case("MMRL", 5, 2, "fp32", "fp32", "cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "tiny.safetensors"
    cases.write_weights(path, TINY)
    return path


@pytest.fixture
def products(monkeypatch):
    """Small ones, so that tests do not measure the machine."""
    small = measure.MatrixProducts
    monkeypatch.setattr(measure, "MatrixProducts", lambda precision, device: small(precision, device, rows=2))


def options(module, *argv):
    return module.options().parse_args(list(argv))


def first_steps(weights, case=CASE):
    steps = {side: cases.step_of(case, side, weights) for side in ("ours", "plain")}
    for step in steps.values():
        step()
    return steps["ours"], steps["plain"]


@pytest.mark.parametrize("count", [900, 3000])
def test_class_names_differ_and_are_as_long_as_imagenets(count):
    names = cases.class_names(count)
    assert len(set(names)) == count
    words = [len(name.split()) for name in names]
    assert max(words) <= 6 and 1 <= sum(words) / count < 2.6
    assert names == cases.class_names(count)
    tokenize(fill(TEMPLATES["ImageNet"], names))  # raises for a prompt that is too long


def test_both_sides_take_the_same_steps(weights):
    ours, plain = first_steps(weights)
    cases.check_same_step(ours, plain)
    first = ours.loss
    for _ in range(3):
        ours()
        plain()
    torch.testing.assert_close(ours.loss, plain.loss, rtol=1e-3, atol=0)
    assert ours.loss < 0.99 * first, "the update does nothing"


def test_a_wrong_loss_is_not_benchmarked(weights):
    ours, plain = first_steps(weights)
    ours.loss = ours.loss * 1.001
    with pytest.raises(ValueError, match="loss of ours and plain differ by 1.0e-03 of plain's norm, allowed are 1e-04"):
        cases.check_same_step(ours, plain)


def test_wrong_gradients_are_not_benchmarked(weights):
    ours, plain = first_steps(weights)
    ours.side.learned["image_encoder.proj_rep"].grad.neg_()
    with pytest.raises(ValueError, match="gradients of ours and plain differ"):
        cases.check_same_step(ours, plain)


def test_sides_of_different_precision_compare_their_losses(weights):
    case = dataclasses.replace(CASE, precision="bf16")
    ours, plain = first_steps(weights, case)
    cases.check_same_step(ours, plain)
    ours.loss = ours.loss * 1.1
    with pytest.raises(ValueError, match="loss of ours and plain differ"):
        cases.check_same_step(ours, plain)


def test_a_side_that_gives_nan_is_not_benchmarked():
    scores = torch.ones(2, 3)
    cases.check_same_scores(scores, scores, exact=True)
    with pytest.raises(ValueError, match="scores of ours and plain differ by nan"):
        cases.check_same_scores(scores * float("nan"), scores, exact=False)


def test_alternate_takes_turns_and_medians(monkeypatch):
    calls: list[str] = []
    clock = iter([0, 1, 1, 5, 5, 7, 7, 12, 12, 21, 21, 27])  # a: 1 2 9, b: 4 5 6
    monkeypatch.setattr(measure, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    jobs = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    assert measure.alternate(jobs, 3, "cpu", "") == {"a": 2, "b": 5}
    assert calls == ["a", "b"] * 3


def test_turns_of_warm_up_do_not_count(monkeypatch):
    clock = iter([0, 100, 101, 101, 104])  # the first turn is not timed
    monkeypatch.setattr(measure, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert measure.alternate({"a": lambda: None}, 2, "cpu", "", warm_up=1) == {"a": 2}


def test_flops_are_those_of_products_and_attention():
    a, b = torch.ones(3, 4, requires_grad=True), torch.ones(4, 5)
    assert measure.count_flops(lambda: (a @ b).sum().backward()) == 2 * 2 * 3 * 4 * 5
    q = torch.ones(2, 3, 7, 8)
    attention = torch.nn.functional.scaled_dot_product_attention
    assert measure.count_flops(lambda: attention(q, q, q)) == 2 * 2 * (2 * 3) * 7 * 7 * 8
    products = measure.MatrixProducts("fp32", "cpu", rows=2)
    assert measure.count_flops(products) == products.flops


def test_launches_leave_out_what_starts_no_kernel():
    x = torch.ones(2, requires_grad=True)
    with measure.Launches() as found:
        (x * x).sum().backward()
    assert found.count == 2 + 4  # back: ones for the sum, a product for each factor, and their sum
    y = torch.ones(3, 4)
    with measure.Launches() as found:
        (y @ y.t()).view(-1)[1:].add_(torch.empty(8).fill_(1)).sum().item()
    assert found.count == 4


def test_launches_are_those_of_any_width(tmp_path, capsys, monkeypatch):
    (row,) = launches.run(options(launches, *"--methods CLIPAdapter --classes 3 --batch 2".split()))
    monkeypatch.setattr("clip.layers.waits_for_launches", lambda device: True)
    case, weights = dataclasses.replace(CASE, method="CLIPAdapter", classes=3), tmp_path / "wider.safetensors"
    cases.write_weights(weights, cases.Size(embed=128, res=32, vision=(192, 12), text=(192, 12)))
    plain, ours = (train_step.first_step(cases.step_of(case, side, weights))["launches"] for side in ("plain", "ours"))
    assert (row["plain_launches"], row["ours_launches"], row["launches"]) == (plain, ours, ours / plain)
    assert f"| CLIPAdapter | {plain} | {ours} |" in re.sub(" +", " ", capsys.readouterr().out)


def test_memory_of_a_step_in_its_own_process(weights):
    """64 images more make a difference; their hidden states (5 tokens, 64 wide, 12 layers) are small against 100 MB."""
    case = dataclasses.replace(CASE, batch=64)
    peak = memory.peak_of_step(case, "ours", weights, threads=1)
    images = cases.batch_of(case, weights)[0]
    assert images.numel() * 4 < peak["extra"] < 100e6 < peak["held"]


@pytest.mark.skipif(not memory.MARK.exists(), reason="only Linux forgets earlier peaks")
def test_memory_freed_within_a_step_counts():
    def step():
        torch.ones(40_000_000)  # 160 MB, freed at once

    before = torch.ones(60_000_000)  # what was larger before must not count
    del before
    assert 150e6 < memory._resident_peak(step)["extra"] < 200e6


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (-9, ""),
        (1, "Traceback\nRuntimeError: DefaultCPUAllocator: can't allocate memory: 8 bytes"),
        (1, "CUDA out of memory"),
    ],
)
def test_too_little_memory_is_told_from_a_failure(status, error, weights, monkeypatch):
    def child(status, error):
        done = subprocess.CompletedProcess([], status, "", error)
        monkeypatch.setattr(memory.subprocess, "run", lambda *args, **options: done)

    child(status, error)
    assert memory.peak_of_step(CASE, "plain", weights, 1) is None
    child(1, "Traceback\nValueError: broken")
    with pytest.raises(RuntimeError, match=r"memory of plain failed \(exit status 1\): ValueError: broken"):
        memory.peak_of_step(CASE, "plain", weights, 1)


def test_train_step_prints_its_table_and_writes_json(products, capsys, tmp_path):
    path = tmp_path / "rows.json"
    argv = "--classes 3 4 --batch 2 --repeats 1 --plain-up-to 3 --no-memory --json".split()
    rows = train_step.run(options(train_step, *argv, str(path)), TINY)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    head, both, alone = cells[0], cells[2], cells[3]
    assert dict(zip(head, both, strict=True))["classes"] == "3"
    assert float(dict(zip(head, both, strict=True))["faster by"]) == pytest.approx(rows[0]["faster"], abs=0.01)
    missing = {name for name, cell in zip(head, alone, strict=True) if cell == "-"}
    of_plain = {"ms/step plain", "faster by", "launches plain", "extra peak MB plain", "ours/plain"}
    assert missing == of_plain | {"extra peak MB ours"}
    written = json.loads(path.read_text())
    assert written["rows"] == rows and written["machine"]["torch"] == torch.__version__
    for row in rows:
        assert row["fraction"] == pytest.approx(row["gflop"] / (row["ours_ms"] / 1e3 * row["rate"]))
        assert row["ms_per_image"] == row["ours_ms"] / 2


def test_a_side_without_enough_memory_is_named_and_not_timed(products, monkeypatch, capsys):
    peaks = {"plain": None, "ours": {"held": 10**9, "extra": 2 * 10**9}}
    monkeypatch.setattr(memory, "peak_of_step", lambda case, side, weights, threads: peaks[side])
    (row,) = train_step.run(options(train_step, "--classes", "3", "--batch", "1", "--repeats", "1"), TINY)
    assert (row["plain_ms"], row["ours_extra"], row["memory"]) == (None, 2000, None) and row["ours_ms"] > 0
    assert "plain at 3 classes, batch 1: this machine has too little memory" in capsys.readouterr().out


def test_inference_prints_both_tables(products, capsys):
    images, texts = inference.run(
        options(inference, *"--classes 3 --batch 2 --repeats 1 --precision fp32 bf16 --targets".split()), TINY
    )
    assert [row["features"] for row in images] == [*inference.FEATURES] * 2
    assert [row["plain_precision"] for row in images] == ["fp32"] * 4  # the targets on a CPU compare with float32
    assert all(row["plain"] > 0 and row["ours"] > 0 and row["gflop"] > 0 for row in images + texts)
    assert images[0]["gflop"] < images[1]["gflop"]
    out = capsys.readouterr().out
    assert out.count("| MMRL") + out.count("|     MMRL") == 6
    assert out.count("class features, batch 2, ") == 2 and "(target >= 1.15): " in out


def row_of(**values):
    base = {"classes": 50, "batch": 4, "precision": "fp32", "device": "cpu", "faster": 4.0, "memory": 0.3}
    return base | {"fraction": 0.9, "ours_held": 1000.0, "ours_extra": 500.0} | values


def test_verdicts():
    target = train_step.Target(50, 4, faster=3.8, memory=0.2)
    where = "50 classes, batch 4, fp32 on cpu: "
    assert train_step.verdicts(row_of(), target, True) == [
        f"{where}4.00 times faster (target >= 3.80): met",
        f"{where}0.300 of plain's extra peak memory (target <= 0.200): missed",
        f"{where}0.900 of the rate of matrix products (target >= 0.850): met",
    ]
    assert train_step.verdicts(row_of(faster=None), target, True)[0] == (
        f"{where}times faster (target >= 3.80): not measured"
    )
    whole = train_step.Target(50, 4, peak_gb=1.4)
    lines = train_step.verdicts(row_of(precision="amp", device="cuda"), whole, True)
    assert lines == ["50 classes, batch 4, amp on cuda: 1.50 GB peak memory in all (target <= 1.40): missed"]
    (line,) = train_step.verdicts(row_of(precision="bf16"), target, False)
    assert line.endswith("neither AMX nor AVX512-bf16, so the target does not apply")


def test_presets():
    wanted = train_step.rows_wanted(options(train_step, "--targets"))
    assert [(row["classes"], row["batch"]) for row in wanted] == [(50, 4), (100, 16), (250, 4), (500, 8)]
    wanted = train_step.rows_wanted(options(train_step, "--targets", "--precision", "bf16"))
    assert [row["plain_precision"] for row in wanted] == ["fp32"]
    wanted = train_step.rows_wanted(options(train_step, "--sweep", "classes"))
    assert (wanted[0]["classes"], wanted[-1]["classes"]) == (10, 20000)
    with pytest.raises(ValueError, match="^there are no targets for fp16 on cpu: there are for fp32 on cpu, bf16"):
        train_step.rows_wanted(options(train_step, "--targets", "--precision", "fp16"))


@pytest.mark.parametrize("module", [train_step, inference])
@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--method", "ZeroshotCLIP"], "error: --method ZeroshotCLIP has no benchmark: there are "),
        (["--device", "tpu"], "error: --device tpu is not available: there are cpu"),
    ],
)
def test_what_is_not_there_is_refused(module, argv, line):
    with pytest.raises(SystemExit) as caught:
        module.main(argv)
    assert str(caught.value.code).startswith(line)


def test_numbers_must_be_positive(capsys):
    with pytest.raises(SystemExit):
        train_step.main(["--classes", "0"])
    assert "0 is not at least 1" in capsys.readouterr().err


def test_the_scripts_run_from_the_root():
    """Without importing torch for the help."""
    for name in ("train_step", "inference"):
        command = [sys.executable, "-X", "importtime", f"benchmarks/{name}.py", "-h"]
        done = subprocess.run(command, cwd=memory.ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and "--repeats" in done.stdout
        assert re.search(r"\| +argparse$", done.stderr, re.M) and not re.search(r"\| +torch$", done.stderr, re.M)


def test_a_table_marks_what_was_not_measured():
    text = common.table([{"a": 1234.5, "b": None}], {"a": ("A", ",.0f"), "b": ("B", ".2f")})
    assert [cell.strip() for cell in text.splitlines()[-1].strip("|").split("|")] == ["1,234", "-"]


OFTEN = {"MMRL", "TipAdapterF", "PLOT"}  # learns by steps, is set from images, matches several features


@pytest.mark.parametrize("name", some_often(reference.learning(), OFTEN))
def test_every_method_has_a_row_and_both_sides_agree(name, products, capsys):
    """On a tiny CLIP; the check that both sides give the same loss and gradients is in the measurement itself."""
    args = methods.options().parse_args(["--methods", name, "--classes", "5", "--repeats", "1", "--no-memory"])
    rows = methods.run(args, WIDE)
    assert [row["method"] for row in rows] == [name]
    assert rows[0]["evaluated"] > 0 and rows[0]["faster"] > 0 and rows[0]["learned"] > 0
    assert f"| {name} |".replace(" ", "") in capsys.readouterr().out.replace(" ", "")


def test_features_compares_a_head_with_encoding_each_image_it_took(capsys):
    """Ten passes over four images to make the keys, and the two validation images."""
    (row,) = features.run(options(features, "--methods", "TipAdapter", "--classes", "2", "--shots", "2"), TINY)
    assert (row["train"], row["encoded"]) == (4, 10 * 4 + 2)
    assert row["usual_seconds"] > row["seconds"] > 0 and row["ratio"] > 1
    assert re.search(r"\|\s+TipAdapter \|\s+4 \|", capsys.readouterr().out)
