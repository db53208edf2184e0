"""The family's transforms: crop, flip, normalisation."""

from __future__ import annotations

from torchvision import transforms as T

from .utils import check_availability

INTERPOLATION_MODES = {
    "bilinear": T.InterpolationMode.BILINEAR,
    "bicubic": T.InterpolationMode.BICUBIC,
    "nearest": T.InterpolationMode.NEAREST,
}
AVAI_CHOICES = ["random_flip", "random_resized_crop", "normalize", "center_crop"]


def build_transform(cfg, is_train=True, choices=None):
    if cfg.INPUT.NO_TRANSFORM:
        return None
    chosen = cfg.INPUT.TRANSFORMS if choices is None else choices
    for choice in chosen:
        check_availability(choice, AVAI_CHOICES)
    normalize = T.Normalize(mean=cfg.INPUT.PIXEL_MEAN, std=cfg.INPUT.PIXEL_STD)
    build = _build_transform_train if is_train else _build_transform_test
    return build(cfg, chosen, f"{cfg.INPUT.SIZE[0]}x{cfg.INPUT.SIZE[1]}", normalize)


def _build_transform_train(cfg, choices, target_size, normalize):
    mode, size = INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION], cfg.INPUT.SIZE
    steps = []
    if "random_resized_crop" not in choices:
        steps.append(T.Resize(size, interpolation=mode))
    if "center_crop" in choices:
        steps.append(T.CenterCrop(size))
    if "random_resized_crop" in choices:
        steps.append(T.RandomResizedCrop(size, scale=cfg.INPUT.RRCROP_SCALE, interpolation=mode))
    if "random_flip" in choices:
        steps.append(T.RandomHorizontalFlip())
    return T.Compose([*steps, T.ToTensor(), *([normalize] if "normalize" in choices else [])])


def _build_transform_test(cfg, choices, target_size, normalize):
    mode, size = INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION], cfg.INPUT.SIZE
    steps = [T.Resize(max(size), interpolation=mode), T.CenterCrop(size), T.ToTensor()]
    return T.Compose([*steps, *([normalize] if "normalize" in choices else [])])
