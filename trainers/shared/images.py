"""What a backbone's name tells, or the configuration it leads to: the images trained on, whether it is a CLIP.

No weights are read. Needs torch for open_clip's and Hugging Face's only, so that a run's configuration is quick to
resolve.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

MEAN = [0.48145466, 0.4578275, 0.40821073]  # RGB in [0, 1], OpenAI's
STD = [0.26862954, 0.26130258, 0.27577711]
USUAL = "ViT-B/16"  # whose images the CoOp family's YAML files describe
# Side of the images of OpenAI's models, and of the one that comes with the project.
SQUASH = "squash"  # of INPUT.TRANSFORMS
SIDES = {
    **dict.fromkeys(("RN50", "RN101", "ViT-B/32", "ViT-B/16", "ViT-L/14"), 224),
    **{"RN50x4": 288, "RN50x16": 384, "RN50x64": 448, "ViT-L/14@336px": 336, "embedded": 32},
}


def follow_checkpoint(cfg: Any, given: Collection[str], files: Sequence[tuple[str, Mapping[str, Any]]] = ()) -> None:
    """Set what ``cfg.INPUT`` says of size, statistics and interpolation to the checkpoint's, in place.

    Keys in ``given`` (dotted) stay: where they do not fit, building the model refuses them. So do all where the name
    tells nothing, as a bare file's. ``files`` are (path, content) of the YAML files that ``cfg`` is made of, the
    strongest last. Where one describes the images of the backbone that it names itself (or else of the one that they
    name, or ViT-B/16's), and the run has another, that one's images count. Raises ValueError for anything else that a
    file says against the checkpoint, and for a name that open_clip or the hub does not know, OSError where the hub
    cannot be reached.
    """
    name = cfg.MODEL.BACKBONE.NAME
    for key, value in images_of(name).items():
        if f"INPUT.{key}" in given or same(cfg.INPUT[key], value):
            continue
        path, content = next((file for file in reversed(files) if _said(file[1], "INPUT", key) is not None), ("", {}))
        if path and not _fits(cfg.INPUT[key], key, _backbone([content]) or _backbone(c for _, c in reversed(files))):
            raise ValueError(
                f"{path}: INPUT.{key} is {cfg.INPUT[key]}, but {name} was trained with {value}: take it out of the "
                "file, or name the weights that it fits in MODEL.BACKBONE.NAME"
            )
        cfg.INPUT[key] = value
    known = describe(name)
    if known and known.preprocess and known.preprocess.squash and "INPUT.TRANSFORMS" not in given:
        if SQUASH not in cfg.INPUT.TRANSFORMS:
            cfg.INPUT.TRANSFORMS = [*cfg.INPUT.TRANSFORMS, SQUASH]


def describe(name: str) -> Any:
    """Return the ``clip.shape.Architecture`` of open_clip's and Hugging Face's names and folders, None for others."""
    path = Path(name).expanduser()
    if not name.startswith(("open_clip:", "hf-hub:", "hf:")) and not (
        name not in SIDES and (path.is_dir() or path.with_name("config.json").is_file())
    ):
        return None
    from clip import weights

    return weights.describe(name)


def _fits(value: Any, key: str, name: str) -> bool:
    images = images_of(name or USUAL)
    return key in images and same(value, images[key])


def _backbone(contents: Iterable[Mapping[str, Any]]) -> str:
    """Return the name of the backbone that the first of these YAML files says, or ""."""
    return next((name for content in contents if (name := _said(content, "MODEL", "BACKBONE", "NAME"))), "")


def _said(content: Mapping[str, Any], *keys: str) -> Any:
    """Return what a YAML file says under these keys, one within the other, or None."""
    value: Any = content
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def images_of(name: str) -> dict[str, Any]:
    """Return SIZE, PIXEL_MEAN, PIXEL_STD and INTERPOLATION of ``INPUT``, as far as a backbone's name tells them."""
    if name in SIDES:
        side = SIDES[name]
        return {"SIZE": (side, side), "PIXEL_MEAN": MEAN, "PIXEL_STD": STD, "INTERPOLATION": "bicubic"}
    known = describe(name)
    return {} if known is None else {"SIZE": (known.side, known.side)} | statistics_of(known.preprocess)


def statistics_of(images: Any) -> dict[str, Any]:
    """Return PIXEL_MEAN, PIXEL_STD and INTERPOLATION of ``INPUT`` for a ``clip.shape.Preprocess``; of None nothing."""
    if images is None:
        return {}
    return {"PIXEL_MEAN": list(images.mean), "PIXEL_STD": list(images.std), "INTERPOLATION": images.interpolation}


def same(given: Any, wanted: Any) -> bool:
    """Return whether two values are equal, numbers to three digits."""
    if isinstance(wanted, str):
        return given == wanted
    return len(given) == len(wanted) and all(abs(a - b) < 1e-3 for a, b in zip(given, wanted, strict=True))
