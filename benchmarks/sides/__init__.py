"""What each method brings to a benchmark: the program of its trainer and its plain reference.

A module per method has ``ours(clip_model, names)`` and ``plain(weights, names, learned)``, both to a ``Side``, for CLIP
or its state dict, class names and learned tensors by name. Shapes: B images, C classes, d joint width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Learned = dict[str, Tensor]


@dataclass(frozen=True)
class Side:
    """One of the two programs that are compared.

    Attributes:
        learned: learned tensors by name.
        loss: images ``[B, 3, H, W]``, labels ``[B]`` to the training loss.
        class_features: what evaluation computes of the classes once, ``[C, d]`` or whatever else ``scores`` takes.
        scores: images, class features, and whether both features score, to probabilities ``[B, C]``.
    """

    learned: Learned
    loss: Callable[[Tensor, Tensor], Tensor]
    class_features: Callable[[], Any]
    scores: Callable[[Tensor, Any, bool], Tensor]
