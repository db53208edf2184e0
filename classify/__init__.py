"""A folder of images or a finished run as a classifier: ``from classify import fit, load_classifier``.

Torch is loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .classifier import Classifier as Classifier
    from .fitting.program import fit as fit
    from .load import load_classifier as load_classifier
    from .load import zero_shot as zero_shot

__all__ = ["Classifier", "fit", "load_classifier", "zero_shot"]


def __getattr__(name: str) -> Any:
    if name == "Classifier":
        from .classifier import Classifier

        return Classifier
    if name == "fit":
        from .fitting.program import fit

        return fit
    if name in __all__:
        from . import load

        return getattr(load, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
