"""Augmentations that draw as the public Dassl's, and RandAugment's operations one by one."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dassl.config import get_cfg_default
from dassl.data.transforms import build_transform, randaugment
from dassl.utils import set_random_seed

GOLDEN = Path(__file__).parent / "data/transforms.npz"


def golden_images() -> list[Image.Image]:
    noise = np.random.RandomState(0).randint(0, 255, (61, 83, 3), dtype=np.uint8)
    ramp = np.add.outer(np.arange(50), np.arange(90))[:, :, None] * np.array((1, 2, 0.5))
    a, b = Image.fromarray(noise), Image.fromarray(np.clip(ramp, 0, 255).astype(np.uint8))
    return [a, b, a, b]


@pytest.mark.parametrize("choice", ["random_translation", "gaussian_noise", "randaugment_fixmatch", "randaugment2"])
def test_the_same_seed_gives_what_the_public_dassl_gives(choice: str) -> None:
    cfg = get_cfg_default()
    cfg.merge_from_list(["INPUT.SIZE", (32, 32), "INPUT.TRANSFORMS", (choice, "normalize")])
    transform = build_transform(cfg)
    set_random_seed(1)
    images = torch.stack([transform(image) for image in golden_images()])
    with np.load(GOLDEN) as golden:
        assert np.abs(images.numpy() - golden[choice]).max() == 0


@pytest.mark.parametrize("operations", ["randaugment_list", "randaugment_list2", "fixmatch_list"])
def test_every_operation_takes_its_whole_range(operations: str) -> None:
    image = golden_images()[0]
    for operation, low, high in getattr(randaugment, operations)():
        for strength in (low, (low + high) / 2, high):
            changed = operation(image, strength)
            assert (changed.size, changed.mode) == (image.size, "RGB"), operation.__name__


def test_moves_go_either_way() -> None:
    image = golden_images()[0]
    pixels = np.asarray(image)
    random.seed(3)
    seen = set()
    for _ in range(12):
        moved = np.asarray(randaugment.TranslateXabs(image, 5))
        right = np.array_equal(moved[:, :-5], pixels[:, 5:])
        assert right or np.array_equal(moved[:, 5:], pixels[:, :-5])
        seen.add(right)
    assert seen == {True, False}
    assert np.array_equal(np.asarray(randaugment.Flip(image)), pixels[:, ::-1])
    assert np.array_equal(np.asarray(randaugment.Invert(image)), 255 - pixels)


def test_randaugment_has_one_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    augment = randaugment.RandAugment(n=3, m=15)
    augment.augment_list = [(lambda image, v: asked.append(v) or image, 10, 30)]
    augment(golden_images()[0])
    assert asked == [20.0, 20.0, 20.0]


def test_cutout_is_a_grey_square() -> None:
    np.random.seed(0)
    image = Image.new("RGB", (40, 40))
    grey = np.asarray(randaugment.Cutout(image, 0.25)) == randaugment.GREY
    rows, columns = np.nonzero(grey.all(2))
    assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1) <= 11**2
    assert randaugment.Cutout(image, 0) is image
