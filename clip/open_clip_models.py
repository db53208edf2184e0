"""open_clip's lists: which of its architectures are CLIP as it is computed here, and where their weights are.

An architecture is taken when every key of its configuration is one that is understood here or has no effect, so that
what open_clip adds later is refused, not computed wrongly.
"""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.names import closest

from .shape import Architecture, Computation, Preprocess

PREFIX = "open_clip:"

# Keys whose value is free: sizes, which the weights repeat, and what `Computation` holds.
FREE = frozenset(
    {
        *("embed_dim", "quick_gelu", "custom_text", "init_logit_scale"),
        *(f"vision_cfg.{key}" for key in ("image_size", "patch_size", "layers", "width", "head_width", "mlp_ratio")),
        *(f"text_cfg.{key}" for key in ("layers", "width", "heads", "mlp_ratio")),
    }
)
# Keys that must have this value. All others must be empty, zero or False.
FIXED = {
    "vision_cfg.pool_type": "tok",
    "vision_cfg.pos_embed_type": "learnable",
    "text_cfg.pool_type": "argmax",
    "text_cfg.proj_type": "linear",
    "text_cfg.context_length": 77,
    "text_cfg.vocab_size": 49408,
}


def architecture(name: str) -> Architecture:
    """Return one of open_clip's architectures.

    Raises ValueError for a name that open_clip does not know (with the nearest ones), or a model that is not
    computed as CLIP is (with the keys of its configuration that say so).
    """
    import open_clip

    config = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        raise ValueError(f"open_clip has no architecture {name!r}{_nearest(name, open_clip.list_models())}")
    reasons = _foreign(config)
    if reasons:
        more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
        raise ValueError(
            f"open_clip's {name} is not a CLIP as it is computed here: {'; '.join(reasons[:3])}{more}; "
            "choose a standard one, such as ViT-B-16"
        )
    vision, text = config["vision_cfg"], config["text_cfg"]
    computation = Computation(
        quick_gelu=config.get("quick_gelu", False),
        vision_head_width=vision.get("head_width", 64),
        text_head_width=text["width"] // text["heads"],
    )
    return Architecture(name, computation, _shape(config["embed_dim"], vision, text), vision.get("image_size", 224))


def pretrained(
    model: Architecture, tag: str, root: str | os.PathLike[str] | None = None
) -> tuple[Path, Computation, Preprocess]:
    """Return the file of the weights ``tag`` of an architecture, downloaded by open_clip if need be, and its use.

    ``root`` is where downloads are kept, by default where open_clip keeps them. Raises ValueError for an unknown tag
    (with the nearest ones), RuntimeError where a download fails.
    """
    computation, preprocess, config = pretrained_use(model, tag)
    return _download(f"{PREFIX}{model.name}/{tag}", config, root), computation, preprocess


def pretrained_use(model: Architecture, tag: str) -> tuple[Computation, Preprocess, Mapping[str, Any]]:
    """Return how weights compute, the images they were trained on, and open_clip's entry; nothing is downloaded."""
    from open_clip import get_pretrained_cfg, list_pretrained_tags_by_model

    name = model.name
    config = get_pretrained_cfg(name, tag)
    if not config:
        tags = list_pretrained_tags_by_model(name)
        raise ValueError(f"open_clip has no weights {tag!r} of {name}{_nearest(tag, tags)}; it has {_listed(tags)}")
    # The tag knows: open_clip lists OpenAI's weights, and others, under architectures with GELU too.
    quick_gelu = config.get("quick_gelu", False) or model.computation.quick_gelu
    return replace(model.computation, quick_gelu=quick_gelu), _preprocess(name, tag, config), config


def split(name: str) -> tuple[str, str, bool]:
    """Split ``open_clip:ARCH/PRETRAINED`` or ``open_clip:ARCH:FILE`` into ARCH, the rest, and whether that is a file.

    Raises ValueError for anything else.
    """
    inner = name.removeprefix(PREFIX)
    arch, colon, file = inner.partition(":")
    if colon and arch and file:
        return arch, file, True
    arch, slash, tag = inner.rpartition("/")
    if slash and arch and tag:
        return arch, tag, False
    raise ValueError(f"{name!r} names no weights: give open_clip:ARCH/PRETRAINED or open_clip:ARCH:FILE")


def _foreign(config: Mapping[str, Any]) -> list[str]:
    """Return what in a configuration is not CLIP as it is computed here."""
    flat = {key: value for key, value in config.items() if key not in ("vision_cfg", "text_cfg")}
    for part in ("vision_cfg", "text_cfg"):
        flat |= {f"{part}.{key}": value for key, value in config[part].items()}
    found = [
        f"{key} is {value!r}" if not isinstance(value, dict) else f"it has a {key}"
        for key, value in flat.items()
        if key not in FREE and (value != FIXED[key] if key in FIXED else value)
    ]
    side, patch = flat.get("vision_cfg.image_size", 224), flat.get("vision_cfg.patch_size")
    if not found and patch and (not isinstance(side, int) or not isinstance(patch, int) or side % patch):
        found.append(f"vision_cfg.image_size {side} is not a whole number of patches of {patch}")
    return found


def _shape(embed_dim: int, vision: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
    layers, resnet = vision["layers"], isinstance(vision["layers"], list | tuple)
    shape = {
        "embed_dim": embed_dim,
        "vision_width": vision["width"],
        "vision_layers": tuple(layers) if resnet else layers,
        "transformer_width": text["width"],
        "transformer_layers": text["layers"],
        "transformer_mlp_width": int(text["width"] * text.get("mlp_ratio", 4)),
    }
    if not resnet:
        shape |= {
            "vision_patch_size": vision["patch_size"],
            "vision_mlp_width": int(vision["width"] * vision.get("mlp_ratio", 4)),
        }
    return shape


def _preprocess(name: str, tag: str, config: Mapping[str, Any]) -> Preprocess:
    mode = config.get("resize_mode", "shortest")
    if mode not in ("shortest", "squash"):
        raise ValueError(f"open_clip's {name}/{tag} wants images resized by {mode!r}, which is not supported")
    squash = mode == "squash"
    return Preprocess(tuple(config["mean"]), tuple(config["std"]), config["interpolation"], squash)


def _download(name: str, config: Mapping[str, Any], root: str | os.PathLike[str] | None) -> Path:
    from open_clip.pretrained import download_pretrained

    try:
        found = download_pretrained(config, cache_dir=None if root is None else str(Path(root).expanduser()))
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split())
        raise RuntimeError(
            f"cannot download {name}: {reason}; try again, or fetch the file yourself and give {PREFIX}ARCH:FILE"
        ) from error
    return Path(found)


def _nearest(name: str, known: Iterable[str]) -> str:
    name, known = name.replace("/", "-"), list(known)
    found = [other for other in known if name.lower() in other.lower()][:3]
    found = found or closest(name, known, 3)
    return f"; did you mean {_listed(found)}?" if found else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
