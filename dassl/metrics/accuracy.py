"""Top-k accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def compute_accuracy(output: Tensor | Sequence[Tensor], target: Tensor, topk: Sequence[int] = (1,)) -> list[Tensor]:
    """Return the percentage of samples whose label is among the k highest scores, for each k.

    output: scores `[B, C]` (of a tuple or list, the first); target: labels `[B]`. Returns a `[1]` tensor per
    k.
    """
    scores = output if isinstance(output, Tensor) else output[0]
    ranked = scores.topk(max(topk), dim=1).indices  # [B, max k]
    hits = ranked == target.view(-1, 1)
    return [hits[:, :k].any(1).float().sum().view(1) * (100.0 / target.shape[0]) for k in topk]
