"""Image pipelines from the INPUT node of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torchvision import transforms as T

from dassl.lazy import names_from
from dassl.utils.tools import check_availability

from .autoaugment import CIFAR10Policy, ImageNetPolicy, SVHNPolicy
from .ops import Cutout, GaussianNoise, InstanceNormalization, Random2DTranslation
from .randaugment import RandAugment, RandAugment2, RandAugmentFixMatch

__getattr__ = names_from(
    __name__,
    {
        "torchvision.transforms": "CenterCrop ColorJitter Compose GaussianBlur InterpolationMode Normalize RandomApply "
        "RandomCrop RandomGrayscale RandomHorizontalFlip RandomResizedCrop Resize ToTensor"
    },
)

INTERPOLATION_MODES = {
    "bilinear": T.InterpolationMode.BILINEAR,
    "bicubic": T.InterpolationMode.BICUBIC,
    "nearest": T.InterpolationMode.NEAREST,
}

AVAI_CHOICES = (
    "random_flip random_resized_crop normalize instance_norm random_crop random_translation center_crop cutout "
    "imagenet_policy cifar10_policy svhn_policy randaugment randaugment_fixmatch randaugment2 gaussian_noise "
    "colorjitter randomgrayscale gaussian_blur squash"  # the last one is ours
).split()

Step = tuple[str, str, Callable[[Any], Any]]  # choice, what to print, transform


def build_transform(
    cfg: Any, is_train: bool = True, choices: Sequence[str] | None = None
) -> Callable[[Any], Any] | None:
    """Build the training or test pipeline from a PIL image to a tensor `[3, H, W]`.

    `choices` defaults to `cfg.INPUT.TRANSFORMS`; their order does not matter. With squash, test images are resized to
    SIZE whatever their shape; without, their shorter side is, and the middle cut out. Returns None if
    `cfg.INPUT.NO_TRANSFORM`. Raises ValueError for an unknown choice or interpolation.
    """
    if cfg.INPUT.NO_TRANSFORM:
        print("Note: no transform is applied!")
        return None
    chosen = tuple(cfg.INPUT.TRANSFORMS if choices is None else choices)
    for choice in chosen:
        check_availability(choice, AVAI_CHOICES)
    check_availability(cfg.INPUT.INTERPOLATION, INTERPOLATION_MODES)

    print(f"Building transform_{'train' if is_train else 'test'}")
    first = _train_image_steps(cfg, chosen) if is_train else _test_image_steps(cfg, "squash" in chosen)
    last = _tensor_steps(cfg) if is_train else [s for s in _tensor_steps(cfg) if s[0] in _TEST_TENSOR_STEPS]
    to_tensor = ("", "to torch tensor of range [0, 1]", T.ToTensor())
    steps = [*first, to_tensor, *(step for step in last if step[0] in chosen)]
    for _, text, _ in steps:
        print(f"+ {text}")
    return T.Compose([transform for _, _, transform in steps])


_TEST_TENSOR_STEPS = ("normalize", "instance_norm")


def _test_image_steps(cfg: Any, squash: bool) -> list[Step]:
    size = tuple(cfg.INPUT.SIZE)
    interpolation = INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION]
    if squash:
        return [("", f"resize to {size[0]}x{size[1]}", T.Resize(size, interpolation=interpolation))]
    edge = max(size)
    return [
        ("", f"resize the smaller edge to {edge}", T.Resize(edge, interpolation=interpolation)),
        ("", f"{size[0]}x{size[1]} center crop", T.CenterCrop(size)),
    ]


def _train_image_steps(cfg: Any, chosen: Sequence[str]) -> list[Step]:
    size = tuple(cfg.INPUT.SIZE)
    steps = [step for step in (*_geometry_steps(cfg), *_photometric_steps(cfg)) if step[0] in chosen]
    if "random_crop" not in chosen and "random_resized_crop" not in chosen:
        resize = T.Resize(size, interpolation=INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION])
        steps.insert(0, ("", f"resize to {size[0]}x{size[1]}", resize))
    return steps


def _geometry_steps(cfg: Any) -> list[Step]:
    i = cfg.INPUT
    size = tuple(i.SIZE)
    interpolation = INTERPOLATION_MODES[i.INTERPOLATION]
    return [
        ("random_translation", "random translation", Random2DTranslation(size[0], size[1], 0.5, interpolation)),
        ("center_crop", f"center crop (size={size})", T.CenterCrop(size)),
        ("random_crop", f"random crop (padding = {i.CROP_PADDING})", T.RandomCrop(size, padding=i.CROP_PADDING)),
        (
            "random_resized_crop",
            f"random resized crop (size={size}, scale={tuple(i.RRCROP_SCALE)})",
            T.RandomResizedCrop(size, scale=i.RRCROP_SCALE, interpolation=interpolation),
        ),
        ("random_flip", "random flip", T.RandomHorizontalFlip()),
    ]


def _photometric_steps(cfg: Any) -> list[Step]:
    i = cfg.INPUT
    b, c, s, h = i.COLORJITTER_B, i.COLORJITTER_C, i.COLORJITTER_S, i.COLORJITTER_H
    n, m = i.RANDAUGMENT_N, i.RANDAUGMENT_M
    return [
        ("imagenet_policy", "imagenet policy", ImageNetPolicy()),
        ("cifar10_policy", "cifar10 policy", CIFAR10Policy()),
        ("svhn_policy", "svhn policy", SVHNPolicy()),
        ("randaugment", f"randaugment (n={n}, m={m})", RandAugment(n, m)),
        ("randaugment_fixmatch", f"randaugment_fixmatch (n={n})", RandAugmentFixMatch(n)),
        ("randaugment2", f"randaugment2 (n={n})", RandAugment2(n)),
        (
            "colorjitter",
            f"color jitter (brightness={b}, contrast={c}, saturation={s}, hue={h})",
            T.ColorJitter(brightness=b, contrast=c, saturation=s, hue=h),
        ),
        ("randomgrayscale", "random gray scale", T.RandomGrayscale(p=i.RGS_P)),
        ("gaussian_blur", f"gaussian blur (kernel={i.GB_K})", T.RandomApply([T.GaussianBlur(i.GB_K)], p=i.GB_P)),
    ]


def _tensor_steps(cfg: Any) -> list[Step]:
    i = cfg.INPUT
    return [
        ("cutout", f"cutout (n_holes={i.CUTOUT_N}, length={i.CUTOUT_LEN})", Cutout(i.CUTOUT_N, i.CUTOUT_LEN)),
        (
            "normalize",
            f"normalization (mean={i.PIXEL_MEAN}, std={i.PIXEL_STD})",
            T.Normalize(mean=i.PIXEL_MEAN, std=i.PIXEL_STD),
        ),
        ("gaussian_noise", f"gaussian noise (mean={i.GN_MEAN}, std={i.GN_STD})", GaussianNoise(i.GN_MEAN, i.GN_STD)),
        ("instance_norm", "instance normalization", InstanceNormalization()),
    ]
