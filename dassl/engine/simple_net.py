"""A backbone, an optional head, and a linear classifier."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dassl.modeling import build_backbone, build_head


class SimpleNet(nn.Module):
    """Network from the MODEL node `model_cfg`; with `num_classes < 1` it ends at the features."""

    def __init__(self, cfg: Any, model_cfg: Any, num_classes: int, **kwargs: Any) -> None:
        super().__init__()
        self.backbone = build_backbone(
            model_cfg.BACKBONE.NAME, verbose=cfg.VERBOSE, pretrained=model_cfg.BACKBONE.PRETRAINED, **kwargs
        )
        width: int = self.backbone.out_features
        node = model_cfg.HEAD
        self.head: nn.Module | None = None
        if node.NAME and node.HIDDEN_LAYERS:
            self.head = head = build_head(
                node.NAME,
                verbose=cfg.VERBOSE,
                in_features=width,
                hidden_layers=node.HIDDEN_LAYERS,
                activation=node.ACTIVATION,
                bn=node.BN,
                dropout=node.DROPOUT,
            )
            width = head.out_features
        self.classifier = nn.Linear(width, num_classes) if num_classes > 0 else None
        self._fdim = width

    @property
    def fdim(self) -> int:
        """Width of the features."""
        return self._fdim

    def forward(self, x: Tensor, return_feature: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Compute scores `[B, C]`, and with `return_feature` also features `[B, fdim]`."""
        features = self.backbone(x)
        if self.head is not None:
            features = self.head(features)
        if self.classifier is None:
            return features
        scores = self.classifier(features)
        return (scores, features) if return_feature else scores
