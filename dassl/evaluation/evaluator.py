"""From scores and labels to the lines that result parsers read."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dassl.lazy import names_from

from .build import EVALUATOR_REGISTRY

__getattr__ = names_from(__name__, {"sklearn.metrics": "confusion_matrix f1_score"})


def macro_f1(true: Sequence[int], predicted: Sequence[int]) -> float:
    """Return the mean F1 in percent over the classes that occur in ``true``: 2 hits / (occurrences + predictions).

    As scikit-learn has it, whose import would be a tenth of the start-up of every run.
    """
    occurrences, predictions = Counter(true), Counter(predicted)
    hits = Counter(label for label, guess in zip(true, predicted, strict=True) if label == guess)
    scores = [2 * hits[label] / (count + predictions[label]) for label, count in sorted(occurrences.items())]
    return 100.0 * sum(scores) / len(scores)


class EvaluatorBase:
    """Interface of evaluators: `reset`, then `process` per batch, then `evaluate`."""

    def __init__(self, cfg: Any) -> None:
        self.cfg = cfg

    def reset(self) -> None:
        """Forget all batches."""
        raise NotImplementedError

    def process(self, mo: Tensor, gt: Tensor) -> None:
        """Take in one batch of model outputs `mo` and ground truth `gt`."""
        raise NotImplementedError

    def evaluate(self) -> OrderedDict[str, float]:
        """Print and return the results; the first one is what a test returns."""
        raise NotImplementedError


@EVALUATOR_REGISTRY.register()
class Classification(EvaluatorBase):
    """Accuracy, error and macro-F1 in percent; per-class accuracy and a confusion matrix on request.

    After `evaluate`, `last_result` holds what it returned. `_total`, `_correct`, `_y_true`, `_y_pred` and
    `per_class_counts()` describe the batches processed since `reset`.
    """

    def __init__(self, cfg: Any, lab2cname: Mapping[int, str] | None = None, **kwargs: Any) -> None:
        super().__init__(cfg)
        if cfg.TEST.PER_CLASS_RESULT and lab2cname is None:
            raise ValueError("TEST.PER_CLASS_RESULT needs class names: pass lab2cname to the evaluator")
        self._lab2cname = lab2cname
        self.last_result: OrderedDict[str, float] = OrderedDict()
        self.reset()

    def reset(self) -> None:
        self._correct = 0
        self._total = 0
        self._y_true: list[int] = []
        self._y_pred: list[int] = []

    def process(self, mo: Tensor, gt: Tensor) -> None:
        """Take in scores `mo` `[B, C]` and labels `gt` `[B]`."""
        pairs = torch.stack((mo.argmax(1), gt)).cpu()  # one transfer per batch
        self._correct += int((pairs[0] == pairs[1]).sum())
        self._total += pairs.shape[1]
        self._y_pred.extend(pairs[0].tolist())
        self._y_true.extend(pairs[1].tolist())

    def per_class_counts(self) -> dict[int, tuple[int, int]]:
        """Return label -> (correct, total), for the labels that occurred, in rising order."""
        counts = {label: (0, 0) for label in sorted(set(self._y_true))}
        for label, prediction in zip(self._y_true, self._y_pred, strict=True):
            correct, total = counts[label]
            counts[label] = (correct + (label == prediction), total + 1)
        return counts

    @property
    def _per_class_res(self) -> dict[int, list[int]] | None:
        """Label -> 1 or 0 per image, for right or wrong, under its public name; None without TEST.PER_CLASS_RESULT."""
        if not self.cfg.TEST.PER_CLASS_RESULT:
            return None
        matches: defaultdict[int, list[int]] = defaultdict(list)
        for label, prediction in zip(self._y_true, self._y_pred, strict=True):
            matches[label].append(int(label == prediction))
        return matches

    def evaluate(self) -> OrderedDict[str, float]:
        """Print and return the results; raises ValueError if nothing was processed."""
        if self._total == 0:
            raise ValueError("nothing to evaluate: the evaluator has seen no image")
        accuracy = 100.0 * self._correct / self._total
        results = OrderedDict(
            accuracy=accuracy, error_rate=100.0 - accuracy, macro_f1=macro_f1(self._y_true, self._y_pred)
        )
        print(
            "=> result\n"
            f"* total: {self._total:,}\n"
            f"* correct: {self._correct:,}\n"
            f"* accuracy: {accuracy:.1f}%\n"
            f"* error: {results['error_rate']:.1f}%\n"
            f"* macro_f1: {results['macro_f1']:.1f}%"
        )
        if self.cfg.TEST.PER_CLASS_RESULT:
            results["perclass_accuracy"] = self._print_per_class()
        if self.cfg.TEST.COMPUTE_CMAT:
            self._save_confusion_matrix()
        self.last_result = results
        return results

    def _print_per_class(self) -> float:
        assert self._lab2cname is not None
        print("=> per-class result")
        accuracies = []
        for label, (correct, total) in self.per_class_counts().items():
            accuracies.append(100.0 * correct / total)
            print(
                f"* class: {label} ({self._lab2cname[label]})\t"
                f"total: {total:,}\tcorrect: {correct:,}\tacc: {accuracies[-1]:.1f}%"
            )
        average = sum(accuracies) / len(accuracies)
        print(f"* average: {average:.1f}%")
        return average

    def _save_confusion_matrix(self) -> None:
        """Rows are true labels and sum to one. A tensor, not Dassl's array, so that it loads safely."""
        from sklearn.metrics import confusion_matrix  # slow to import, and few runs ask for it

        matrix = confusion_matrix(self._y_true, self._y_pred, normalize="true")
        path = Path(self.cfg.OUTPUT_DIR) / "cmat.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(torch.from_numpy(matrix), path)
        print(f"Confusion matrix is saved to {path}")
