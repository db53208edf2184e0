"""The settings of MMRL and of what is built on it: ranges, towers they fit, and which features score in a variant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from clip.model import CLIP, VisionTransformer

S = TypeVar("S", bound="Settings")

# Table 4; what each of them is stands in docs/ablations.md. The last two are trained as full is.
VARIANTS = ("full", "wo_L", "wo_V", "wo_RS", "biased", "wo_DS1", "wo_DS2")
TRAINED_AS = {"wo_DS1": "full", "wo_DS2": "full"}
# Whether both features score, where that does not depend on the classes.
ALWAYS_BOTH = {"wo_V": False, "wo_DS1": False, "wo_DS2": True}
REGULARIZERS = ("cos", "l1", "mse")


@dataclass(frozen=True)
class Settings:
    """The numbers of the paper: alpha, lambda, J..L, d_r, K; how the two scores are mixed; and its ablations.

    Layers count from 1, or from the end: (-3, -2, -1) are the last three of each tower, however deep it is.
    """

    alpha: float
    reg_weight: float
    rep_layers: tuple[int, ...]
    rep_dim: int
    n_rep_tokens: int
    fusion: str = "probs"
    variant: str = "full"
    regularizer: str = "cos"

    node: ClassVar[str] = "MMRL"  # of the configuration: TRAINER.MMRL

    @classmethod
    def from_cfg(cls: type[S], node: Any) -> S:
        """From the method's node. Raises ValueError naming the key that is out of range."""
        settings = cls(**cls.read(node))
        settings.check()
        return settings

    @classmethod
    def read(cls, node: Any) -> dict[str, Any]:
        """The node's values by the names of the fields; methods built on MMRL have no ablations in their nodes."""
        return {
            "alpha": float(node.ALPHA),
            "reg_weight": float(node.REG_WEIGHT),
            "rep_layers": tuple(node.REP_LAYERS),
            "rep_dim": int(node.REP_DIM),
            "n_rep_tokens": int(node.N_REP_TOKENS),
            "fusion": str(node.FUSION),
            "variant": str(node.get("VARIANT", cls.variant)),
            "regularizer": str(node.get("REGULARIZER", cls.regularizer)),
        }

    def check(self) -> None:
        """Raises ValueError naming the key that is out of range."""
        for line, fine in self.rules().items():
            if not fine:
                raise ValueError(f"TRAINER.{self.node}.{line}")

    def rules(self) -> dict[str, Any]:
        """What must be true, by the line that says so where it is not."""
        return {
            f"ALPHA must lie in [0, 1], not {self.alpha}": 0 <= self.alpha <= 1,
            f"REG_WEIGHT must be at least 0, not {self.reg_weight}": self.reg_weight >= 0,
            "REP_LAYERS is empty: give the layers J to L, such as [6, 7, 8, 9, 10, 11, 12]": self.rep_layers,
            f"REP_DIM must be at least 1, not {self.rep_dim}": self.rep_dim >= 1,
            f"N_REP_TOKENS must be at least 1, not {self.n_rep_tokens}": self.n_rep_tokens >= 1,
            f"FUSION must be probs or logits, not {self.fusion!r}": self.fusion in ("probs", "logits"),
            f"VARIANT must be one of {', '.join(VARIANTS)}, not {self.variant!r}": self.variant in VARIANTS,
            f"REGULARIZER must be cos, l1 or mse, not {self.regularizer!r}": self.regularizer in REGULARIZERS,
        }

    def check_towers(self, clip_model: CLIP) -> None:
        """Raises ValueError where the towers have no room for the representation tokens."""
        if not isinstance(clip_model.visual, VisionTransformer):
            raise ValueError(
                f"{self.node} needs a ViT image tower: this backbone is a ResNet; set MODEL.BACKBONE.NAME to ViT-B/16"
            )
        layers = list(self.rep_layers)
        towers = {"image": clip_model.visual.transformer.layers, "text": clip_model.transformer.layers}
        hint = ""
        if layers[0] >= 0 and towers["image"] != towers["text"]:
            hint = f"; where towers differ in depth, count from the end: {list(range(-len(layers), 0))}"
        for tower, depth in towers.items():
            lowest, last = (1, depth) if layers[0] >= 0 else (-depth, -1)
            if not lowest <= layers[0] <= last:
                raise ValueError(
                    f"TRAINER.{self.node}.REP_LAYERS starts at layer {layers[0]}, but the {tower} tower has layers "
                    f"{lowest} to {last}{hint}"
                )
            if layers != list(range(layers[0], last + 1)):
                raise ValueError(
                    f"TRAINER.{self.node}.REP_LAYERS must run without a gap from J to the {tower} tower's last layer "
                    f"{last}, not {layers}{hint}"
                )

    def lower(self, depth: int) -> int:
        """How many layers of a tower of this depth come before J."""
        first = self.rep_layers[0]
        return depth + first if first < 0 else first - 1

    def both_score(self, seen: bool) -> bool:
        """Whether both features score these classes, or the class feature alone (paper, Figure 3; Table 4)."""
        return ALWAYS_BOTH.get(self.variant, seen)
