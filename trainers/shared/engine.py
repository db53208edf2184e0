"""Which Dassl is installed: this project's, or another in its place, such as the public one."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from yacs.config import CfgNode

# By a module that only this project's has; looking for it imports nothing but the (empty) package.
OURS = find_spec("dassl.cores") is not None
# Keys that only this project's Dassl has, with what another one does in their place: nothing else, whatever is given.
ELSEWHERE: dict[str, Any] = {
    "INPUT": {"READ": "stored", "MAX_MEGAPIXELS": 178.95697},
    "DATALOADER": {"CACHE_GB": 0.0, "CHECK_IMAGES": False},
    "TRAIN": {"RESUME_FREQ": 0, "LOGGER": ""},
    "TEST": {"SAVE_PREDICTIONS": True, "SAVE_SCORES": False},
}
LOST = (
    "the installed Dassl is not this project's: no exact resume (a killed run starts again), no stop on SIGTERM, no "
    "check of scores, no check or cache of image files (they are read as it reads them), no times in the record"
)


def add_keys(cfg: CfgNode) -> None:
    """Add the keys that the installed Dassl lacks, so that configurations load; nothing under this project's."""
    for group, keys in ELSEWHERE.items():
        for key, value in keys.items():
            if key not in cfg[group]:
                cfg[group][key] = value


def check(cfg: Any) -> None:
    """Raise ValueError where a setting needs this project's Dassl to give the numbers that it stands for."""
    if not OURS and cfg.INPUT.READ != "stored":
        raise ValueError(
            f"INPUT.READ {cfg.INPUT.READ} needs this project's Dassl, and another one is installed: put this project "
            "before it on PYTHONPATH, or add INPUT.READ stored (no turning by EXIF, 16-bit greys are clipped)"
        )
    if not OURS and "squash" in cfg.INPUT.TRANSFORMS:
        raise ValueError(
            f"{cfg.MODEL.BACKBONE.NAME} has images squashed to squares, which needs this project's Dassl, and another "
            "one is installed: put this project before it on PYTHONPATH"
        )
