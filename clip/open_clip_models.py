"""open_clip's models: which of them are CLIP as it is computed here, and where their weights are.

Names: ``open_clip:ARCH/PRETRAINED`` of its list, ``open_clip:ARCH:FILE``, ``hf-hub:OWNER/NAME`` or a folder with its
``open_clip_config.json``. A model is CLIP as it is computed here when every key of its configuration is one that is
understood here or has no effect. All others, what open_clip adds later included, are left to open_clip (``foreign``).
"""

from __future__ import annotations

import http.client
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.names import closest

from . import hugging_face
from .hugging_face import Location
from .shape import OPENAI, OPENAI_IMAGES, Architecture, Computation, Preprocess

PREFIX, HUB = "open_clip:", "hf-hub:"
CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")

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


def describe(name: str, root: str | os.PathLike[str] | None = None) -> Architecture | None:
    """Return what open_clip says of the model of a name (see the module's text); None for any other name.

    Of the hub's, the configuration alone is downloaded, into ``root``. Raises as ``split``, ``architecture``,
    ``pretrained_use`` and ``Location`` do.
    """
    if not name.startswith(PREFIX):
        place = locate(name, root)
        return None if place is None else _of_files(place)
    arch, tag, is_file = split(name)
    known = architecture(arch)
    if not is_file:
        computation, preprocess, _ = pretrained_use(known, tag)
        return replace(known, computation=computation, preprocess=preprocess)
    if not known.foreign:
        return known
    tags = list_tags(arch)
    images = {pretrained_use(known, tag)[1] for tag in tags}  # where all weights agree, so does a file
    return replace(known, preprocess=images.pop() if len(images) == 1 else None)


def weights(name: str, root: str | os.PathLike[str] | None = None) -> Path:
    """Return the weights file of a name that ``describe`` knows, downloaded if need be.

    Raises FileNotFoundError for a path without a file, ValueError for a folder or repository without weights,
    RuntimeError or ConnectionError where a download fails.
    """
    if not name.startswith(PREFIX):
        place = locate(name, root)
        assert place is not None
        return place.first(WEIGHTS)
    arch, rest, is_file = split(name)
    if not is_file:
        return _download(name, pretrained_use(architecture(arch), rest)[2], root)
    path = Path(rest).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file {path}")
    return path


def locate(name: str, root: str | os.PathLike[str] | None = None) -> Location | None:
    """Return where a model of the hub or of a folder is that open_clip configures; None for any other name.

    A folder that is also a CLIP of Hugging Face's is read as theirs. Raises ValueError for ``hf-hub:`` without owner
    and name, or for a broken configuration.
    """
    if name.startswith(HUB):
        if re.fullmatch(rf"{HUB}[\w.-]+/[\w.-]+", name) is None:
            raise ValueError(f"{name!r} names no model of the hub: give {HUB}OWNER/NAME")
        return Location(name, root=None if root is None else Path(root).expanduser())
    place = Location(name, folder=Path(name).expanduser())
    if not name or place.json(CONFIG) is None or (place.json(hugging_face.CONFIG) or {}).get("model_type") == "clip":
        return None
    return place


def architecture(name: str) -> Architecture:
    """Return one of open_clip's architectures. Raises ValueError for an unknown name (with the nearest ones)."""
    import open_clip

    config = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        raise ValueError(f"open_clip has no architecture {name!r}{_nearest(name, open_clip.list_models())}")
    return _of_config(name, config)


def _of_files(place: Location) -> Architecture:
    content = place.json(CONFIG)
    if content is None:
        raise ValueError(f"{place.name} has no {CONFIG}, so it is not one of open_clip's: for a CLIPModel give hf:")
    config: Any = content.get("model_cfg")
    wanted = {"embed_dim": int, "vision_cfg": dict, "text_cfg": dict}
    if not isinstance(config, dict) or not all(isinstance(config.get(key), kind) for key, kind in wanted.items()):
        raise ValueError(f"{place.name}: {CONFIG} has no model_cfg with {', '.join(wanted)}")
    images = _preprocess(place.name, content.get("preprocess_cfg") or {})
    return replace(_of_config(place.name, config), preprocess=images)


def _of_config(name: str, config: Mapping[str, Any]) -> Architecture:
    reasons, side = _foreign(config), config["vision_cfg"].get("image_size", 224)
    if reasons:
        more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
        foreign = f"{'; '.join(reasons[:3])}{more}"
        return Architecture(name, OPENAI, {}, side, foreign=foreign, config=config)
    vision, text = config["vision_cfg"], config["text_cfg"]
    computation = Computation(
        quick_gelu=config.get("quick_gelu", False),
        vision_head_width=vision.get("head_width", 64),
        text_head_width=text["width"] // text["heads"],
    )
    return Architecture(name, computation, _shape(config["embed_dim"], vision, text), side)


def list_tags(name: str) -> list[str]:
    """Return the tags of an architecture's weights."""
    from open_clip import list_pretrained_tags_by_model

    return list_pretrained_tags_by_model(name)


def pretrained_use(model: Architecture, tag: str) -> tuple[Computation, Preprocess, Mapping[str, Any]]:
    """Return how weights compute, the images they were trained on, and open_clip's entry; nothing is downloaded.

    Raises ValueError for an unknown tag (with the nearest ones).
    """
    from open_clip import get_pretrained_cfg

    name = model.name
    config = get_pretrained_cfg(name, tag)
    if not config:
        tags = list_tags(name)
        raise ValueError(f"open_clip has no weights {tag!r} of {name}{_nearest(tag, tags)}; it has {_listed(tags)}")
    # The tag knows: open_clip lists OpenAI's weights, and others, under architectures with GELU too.
    quick_gelu = config.get("quick_gelu", False) or model.computation.quick_gelu
    return replace(model.computation, quick_gelu=quick_gelu), _preprocess(f"{name}/{tag}", config), config


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


def _preprocess(name: str, config: Mapping[str, Any]) -> Preprocess:
    mode = config.get("resize_mode", "shortest")
    if mode not in ("shortest", "squash"):
        raise ValueError(f"open_clip's {name} wants images resized by {mode!r}, which is not supported")
    usual = {"mean": OPENAI_IMAGES.mean, "std": OPENAI_IMAGES.std, "interpolation": OPENAI_IMAGES.interpolation}
    mean, std, interpolation = ({**usual, **config}[key] for key in usual)
    return Preprocess(tuple(mean), tuple(std), interpolation, mode == "squash")


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
