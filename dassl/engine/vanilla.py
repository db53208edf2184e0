"""Plain supervised training of a SimpleNet."""

from __future__ import annotations

from typing import Any

from torch.nn import functional as F

from dassl.metrics import compute_accuracy

from .build import TRAINER_REGISTRY
from .trainer import TrainerX


@TRAINER_REGISTRY.register()
class Vanilla(TrainerX):
    """Cross-entropy on the labelled images (empirical risk minimisation)."""

    def forward_backward(self, batch: Any) -> dict[str, float]:
        images, labels = self.parse_batch_train(batch)
        scores = self.model(images)
        loss = F.cross_entropy(scores, labels)
        self.model_backward_and_update(loss)
        summary = {"loss": loss.item(), "acc": compute_accuracy(scores, labels)[0].item()}
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return summary

    def parse_batch_train(self, batch: Any) -> Any:
        """Return images and labels on the device."""
        return super().parse_batch_train(batch)[:2]
