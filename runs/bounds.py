"""Values that a setting can have: what lies outside would be taken for something else, or end in a traceback."""

from __future__ import annotations

from typing import Any

CHOICES = {
    "TASK": ("B2N", "CD", "FS", "JOINT"),
    "DATASET.SUBSAMPLE_CLASSES": ("all", "base", "new"),
    "INPUT.READ": ("stored", "upright"),
    "OFFICIAL_STREAM": (None, True, False),
    "TEST.SPLIT": ("test", "val"),
    "TEST.FINAL_MODEL": ("last_step", "best_val"),
}
LEAST = {
    "OPTIM.MAX_EPOCH": 1,
    "OPTIM.LR": 0,
    "OPTIM.WEIGHT_DECAY": 0,
    "DATALOADER.TRAIN_X.BATCH_SIZE": 1,
    "DATALOADER.TRAIN_U.BATCH_SIZE": 1,
    "DATALOADER.TEST.BATCH_SIZE": 1,
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.K_TRANSFORMS": 1,
    "FEATURES.VIEWS": 1,
    "FEATURES.MAX_GB": 0,
    "TRAIN.PRINT_FREQ": 1,
    "TRAIN.CHECKPOINT_FREQ": 0,
    "TRAIN.RESUME_FREQ": 0,
}
ALL_IMAGES = -1  # NUM_SHOTS and NUM_LABELED: not few-shot
COUNTS = ("DATASET.NUM_SHOTS", "DATASET.NUM_LABELED")


def check(settings: dict[str, Any]) -> None:
    """Raise ValueError naming the key, what it can be and what it is, for the first of `settings` out of bounds."""
    for key, allowed in CHOICES.items():
        if settings[key] not in allowed:
            raise ValueError(f"{key} must be one of {', '.join(map(str, allowed))}, not {settings[key]!r}")
    for key, least in LEAST.items():
        if not settings[key] >= least:
            raise ValueError(f"{key} must be at least {least}, not {settings[key]}")
    for key in COUNTS:
        if settings[key] < 1 and settings[key] != ALL_IMAGES:
            raise ValueError(f"{key} must be at least 1, or {ALL_IMAGES} for all images, not {settings[key]}")
