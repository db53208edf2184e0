"""The Classification evaluator and accuracy."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from dassl.config import get_cfg_default
from dassl.evaluation import build_evaluator
from dassl.metrics import compute_accuracy

# 3 classes; predictions 0 0 1 | 1 1 | 2, labels below
LABELS = torch.tensor([0, 0, 0, 1, 1, 2])
PREDICTED = torch.tensor([0, 0, 1, 1, 1, 0])


def one_hot(labels: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, classes).float()


def evaluator(tmp_path: Path | None = None, **changes):
    cfg = get_cfg_default()
    cfg.OUTPUT_DIR = str(tmp_path)
    cfg.VERBOSE = False
    cfg.TEST.update(changes)
    return build_evaluator(cfg, lab2cname={0: "face", 1: "leopard", 2: "ant"})


def test_result_lines_are_those_of_dassl(capsys: pytest.CaptureFixture[str]) -> None:
    ev = evaluator()
    labels = torch.zeros(1549, dtype=torch.long)
    labels[1000:] = 1
    predicted = labels.clone()
    predicted[:17] = 1
    ev.process(one_hot(predicted, 2), labels)
    results = ev.evaluate()
    assert capsys.readouterr().out == (
        "=> result\n* total: 1,549\n* correct: 1,532\n* accuracy: 98.9%\n* error: 1.1%\n* macro_f1: 98.8%\n"
    )
    assert list(results) == ["accuracy", "error_rate", "macro_f1"]
    assert results["accuracy"] == 100.0 * 1532 / 1549
    assert ev.last_result is results


def test_per_class_lines_and_confusion_matrix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ev = evaluator(tmp_path, PER_CLASS_RESULT=True, COMPUTE_CMAT=True)
    for start in (0, 4):
        ev.process(one_hot(PREDICTED[start : start + 4], 3), LABELS[start : start + 4])
    results = ev.evaluate()
    assert capsys.readouterr().out == (
        "=> result\n"
        "* total: 6\n"
        "* correct: 4\n"
        "* accuracy: 66.7%\n"
        "* error: 33.3%\n"
        "* macro_f1: 48.9%\n"
        "=> per-class result\n"
        "* class: 0 (face)\ttotal: 3\tcorrect: 2\tacc: 66.7%\n"
        "* class: 1 (leopard)\ttotal: 2\tcorrect: 2\tacc: 100.0%\n"
        "* class: 2 (ant)\ttotal: 1\tcorrect: 0\tacc: 0.0%\n"
        "* average: 55.6%\n"
        f"Confusion matrix is saved to {tmp_path / 'cmat.pt'}\n"
    )
    assert results["perclass_accuracy"] == pytest.approx(500 / 9)
    assert ev.per_class_counts() == {0: (2, 3), 1: (2, 2), 2: (0, 1)}
    matrix = torch.load(tmp_path / "cmat.pt", weights_only=True)
    expected = torch.tensor([[2 / 3, 1 / 3, 0], [0, 1, 0], [1, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(matrix, expected)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30), st.integers(1, 7))
def test_scores_do_not_depend_on_batches(pairs: list[tuple[int, int]], size: int) -> None:
    ev = evaluator()
    for start in range(0, len(pairs), size):
        truth, guess = map(torch.tensor, zip(*pairs[start : start + size], strict=True))
        ev.process(one_hot(guess, 5), truth)
    results = ev.evaluate()
    true, predicted = zip(*pairs, strict=True)
    f1 = f1_score(true, predicted, average="macro", labels=sorted(set(true)))
    assert results["accuracy"] == pytest.approx(100 * sum(t == g for t, g in pairs) / len(pairs))
    assert results["error_rate"] == pytest.approx(100 - results["accuracy"])
    assert results["macro_f1"] == pytest.approx(100 * f1)
    ev.reset()
    with pytest.raises(ValueError, match="nothing to evaluate"):
        ev.evaluate()


def test_per_class_results_need_names() -> None:
    cfg = get_cfg_default()
    cfg.TEST.PER_CLASS_RESULT = True
    with pytest.raises(ValueError, match="class names"):
        build_evaluator(cfg)


def test_topk_accuracy() -> None:
    scores = torch.tensor([[0.1, 0.5, 0.4], [0.9, 0.06, 0.04], [0.2, 0.3, 0.5], [0.3, 0.4, 0.3]])
    labels = torch.tensor([2, 0, 2, 1])
    top1, top2 = compute_accuracy(scores, labels, topk=(1, 2))
    assert (top1.item(), top2.item()) == (75.0, 100.0)
    assert top1.shape == (1,)
    assert compute_accuracy((scores, None), labels)[0].item() == 75.0
