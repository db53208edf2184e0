"""Multi-layer perceptron between backbone and classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from dassl.utils.tools import check_availability

from .build import HEAD_REGISTRY

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


class MLP(nn.Module):
    """Linear, batch norm, activation and dropout per hidden layer: `[B, in]` -> `[B, last hidden]`."""

    def __init__(
        self,
        in_features: int = 2048,
        hidden_layers: int | Sequence[int] = (),
        activation: str = "relu",
        bn: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_availability(activation, _ACTIVATIONS)
        widths = [hidden_layers] if isinstance(hidden_layers, int) else list(hidden_layers)
        if not widths:
            raise ValueError("an MLP head needs at least one width in MODEL.HEAD.HIDDEN_LAYERS")
        layers: list[nn.Module] = []
        width = in_features
        for hidden in widths:
            layers.append(nn.Linear(width, hidden))
            if bn:
                layers.append(nn.BatchNorm1d(hidden))
            layers.append(_ACTIVATIONS[activation]())
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
            width = hidden
        self.mlp = nn.Sequential(*layers)
        self.out_features = width

    def forward(self, x: Tensor) -> Tensor:
        """Map features `[B, in_features]` to `[B, out_features]`."""
        return self.mlp(x)


@HEAD_REGISTRY.register()
def mlp(**kwargs: Any) -> MLP:
    """Build an MLP."""
    return MLP(**kwargs)
