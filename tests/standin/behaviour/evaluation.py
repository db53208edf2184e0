"""The evaluator, and the accuracy of a step."""

from __future__ import annotations

from collections import OrderedDict

from sklearn.metrics import f1_score

from .utils import Registry, check_availability

EVALUATOR_REGISTRY = Registry("EVALUATOR")


def build_evaluator(cfg, **kwargs):
    check_availability(cfg.TEST.EVALUATOR, EVALUATOR_REGISTRY.registered_names())
    return EVALUATOR_REGISTRY.get(cfg.TEST.EVALUATOR)(cfg, **kwargs)


class EvaluatorBase:
    def __init__(self, cfg):
        self.cfg = cfg

    def reset(self):
        raise NotImplementedError

    def process(self, mo, gt):
        raise NotImplementedError

    def evaluate(self):
        raise NotImplementedError


@EVALUATOR_REGISTRY.register()
class Classification(EvaluatorBase):
    def __init__(self, cfg, lab2cname=None, **kwargs):
        super().__init__(cfg)
        self._lab2cname = lab2cname
        self.reset()

    def reset(self):
        self._correct = 0
        self._total = 0
        self._y_true = []
        self._y_pred = []

    def process(self, mo, gt):
        guess = mo.max(1)[1]
        self._correct += int(guess.eq(gt).float().sum().item())
        self._total += gt.shape[0]
        self._y_true.extend(gt.data.cpu().numpy().tolist())
        self._y_pred.extend(guess.data.cpu().numpy().tolist())

    def evaluate(self):
        accuracy = 100.0 * self._correct / self._total
        labels = sorted(set(self._y_true))
        macro = 100.0 * f1_score(self._y_true, self._y_pred, average="macro", labels=labels)
        print(
            "=> result\n"
            f"* total: {self._total:,}\n"
            f"* correct: {self._correct:,}\n"
            f"* accuracy: {accuracy:.1f}%\n"
            f"* error: {100.0 - accuracy:.1f}%\n"
            f"* macro_f1: {macro:.1f}%"
        )
        return OrderedDict(accuracy=accuracy, error_rate=100.0 - accuracy, macro_f1=macro)


def compute_accuracy(output, target, topk=(1,)):
    best = output.topk(max(topk), 1, True, True)[1].t()
    hits = best.eq(target.view(1, -1).expand_as(best))
    return [hits[:k].reshape(-1).float().sum(0, keepdim=True).mul_(100.0 / len(target)) for k in topk]
