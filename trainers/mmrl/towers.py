"""Where MMRL's representation tokens stand in the towers of a CLIP."""

from __future__ import annotations

from clip.model import CLIP

from ..settings import RepresentationSettings
from ..shared.deep_prompts import check_vit


def check_towers(settings: RepresentationSettings, clip_model: CLIP) -> None:
    """Raise ValueError where the towers have no room for the representation tokens."""
    visual = check_vit(clip_model, settings.path.removeprefix("TRAINER."))
    key, layers = settings.key("REP_LAYERS"), list(settings.rep_layers)
    towers = {"image": visual.transformer.layers, "text": clip_model.transformer.layers}
    hint = ""
    if layers[0] >= 0 and towers["image"] != towers["text"]:
        hint = f"; where towers differ in depth, count from the end: {list(range(-len(layers), 0))}"
    for tower, depth in towers.items():
        lowest, last = (1, depth) if layers[0] >= 0 else (-depth, -1)
        if not lowest <= layers[0] <= last:
            raise ValueError(
                f"{key} starts at layer {layers[0]}, but the {tower} tower has layers {lowest} to {last}{hint}"
            )
        if layers != list(range(layers[0], last + 1)):
            raise ValueError(
                f"{key} must run without a gap from J to the {tower} tower's last layer {last}, not {layers}{hint}"
            )
