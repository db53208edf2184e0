"""Base and new classes in one label space: which classes are base, and the measures of a test over all of them.

Measures, in percent: `accuracy` over all images (it depends on how many of them are of base classes); `com_base` and
`com_new` on one side's images among all classes, and `joint_hm`, their harmonic mean; `base`, `new` and `hm` of the
same scores among the classes of the image's own side; `base_to_new` and `new_to_base`, the part of a side's images that
are taken for a class of the other side (DeCoOp, arXiv 2406.00345). `auroc` is how well a score r tells base images from
new ones; `openworld_auc` is the part of all pairs of a base and a new image in which both are right among their own
side's classes and the base image has the higher r, ties half (OpenworldAUC, arXiv 2505.05180). These two need no
threshold and do not depend on the sides' sizes. r is the largest probability of a base class, of the softmax over all
classes.

Shapes: N images, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from runs.protocols import JOINT


def sides(trainer: Any) -> np.ndarray:
    """Return `[C]` whether each class is base: its name is one that the model was trained on.

    Where the model does not say: one of the first ceil(C / 2). A name that stands on both sides counts as base. Raises
    ValueError where there are no two sides.
    """
    names = [name for _, name in sorted(trainer.lab2cname.items())]
    trained = getattr(trainer, "trained_classes", None) or names[: (len(names) + 1) // 2]
    base = np.isin(names, trained)
    if base.all() or not base.any():
        raise ValueError(
            f"TASK {JOINT}: {base.sum()} of the {len(names)} classes were trained on, so that there are no two sides: "
            "test a model of base classes"
        )
    return base


def results(trainer: Any, base: np.ndarray) -> dict[str, dict[str, float]]:
    """Return the measures of a trainer's last test by rule, the method's own first, and print them, its own last.

    A trainer that is not one of the methods has one rule, and its evaluator kept the scores (`results.keep_scores`).
    """
    if by_rule := getattr(trainer, "by_rule", None):
        scores = np.concatenate([batch.numpy() for batch in by_rule])
        rules = dict(zip(trainer.model.rules, np.moveaxis(scores, 1, 0), strict=True))
    else:
        rules = {"own scores": np.concatenate(trainer.evaluator.scores)}
    true = np.asarray(trainer.evaluator._y_true)
    found = {rule: measures(z, true, base, base_score(z, base)) for rule, z in rules.items()}
    for rule, values in reversed(found.items()):
        print(f"=> joint result ({rule})")
        print("\n".join(f"* {name}: {value:.1f}%" for name, value in values.items()))
    return found


def base_score(z: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Return r `[N]` of scores `[N, C]`, in float64, so that few of them are equal."""
    e = np.exp(z.astype(np.float64) - z.max(axis=1, keepdims=True))
    return e[:, base].max(axis=1) / e.sum(axis=1)


def measures(z: np.ndarray, true: np.ndarray, base: np.ndarray, r: np.ndarray) -> dict[str, float]:
    """Return all measures by name, for scores `[N, C]`, labels `[N]`, sides `[C]`, and r `[N]`, which is high for base.

    Raises ValueError where no image is of one of the sides.
    """
    of_base, predicted = base[true], z.argmax(axis=1)
    if of_base.all() or not of_base.any():
        raise ValueError(f"TASK {JOINT}: no image that was tested is of a {'new' if of_base.all() else 'base'} class")
    own = np.where(of_base, _best(z, base), _best(z, ~base)) == true
    right, as_base = predicted == true, base[predicted]
    com_base, com_new, at_base, at_new = (
        100 * float(hits[side].mean()) for hits in (right, own) for side in (of_base, ~of_base)
    )
    both = float(own[of_base].mean() * own[~of_base].mean())
    return {
        "accuracy": 100 * float(right.mean()),
        "com_base": com_base,
        "com_new": com_new,
        "joint_hm": harmonic_mean(com_base, com_new),
        "base": at_base,
        "new": at_new,
        "hm": harmonic_mean(at_base, at_new),
        "base_to_new": 100 * float((~as_base[of_base]).mean()),
        "new_to_base": 100 * float(as_base[~of_base].mean()),
        "auroc": 100 * higher(r[of_base], r[~of_base]),
        "openworld_auc": 100 * both * higher(r[of_base & own], r[~of_base & own]) if both else 0.0,
    }


def higher(a: np.ndarray, b: np.ndarray) -> float:
    """Return the part of all pairs of a value of `a` and one of `b` in which the former is higher, ties half."""
    b = np.sort(b)
    return float(sum(np.searchsorted(b, a, side).mean() for side in ("left", "right")) / (2 * len(b)))


def harmonic_mean(a: float, b: float) -> float:
    """Return 2ab / (a + b), and 0 when both are 0."""
    return 2 * a * b / (a + b) if a + b else 0.0


def _best(z: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return the label `[N]` of the highest score among the chosen classes."""
    return np.flatnonzero(chosen)[z[:, chosen].argmax(axis=1)]
