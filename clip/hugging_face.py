"""CLIP as Hugging Face keeps it: a folder, or a repository of its hub, with ``config.json`` beside the weights.

Names: ``hf:OWNER/NAME``, ``hf:OWNER/NAME@REVISION``, a folder, or a file ``model.safetensors`` or ``pytorch_model.bin``
with ``config.json`` beside it. A configuration is taken when all that ``CLIPModel`` computes by it is what is computed
here. Files of the hub are kept where huggingface_hub keeps them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .foreign import ADVICE
from .shape import OPENAI_IMAGES, Architecture, Computation, Preprocess

PREFIX = "hf:"
CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# What CLIPTextConfig and CLIPVisionConfig have by default: configurations often say only what differs.
_TEXT = {
    **{"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8},
    **{"vocab_size": 49408, "max_position_embeddings": 77, "eos_token_id": 49407},
    **{"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
}
_VISION = {
    **{"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    **{"image_size": 224, "patch_size": 32, "num_channels": 3},
    **{"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
}
# Keys that must have one of these values. With an end token of 2, CLIPModel takes the highest token's output; with
# 49407 the first end token's: for this project's texts they are the same.
_FIXED: dict[str, tuple[Any, ...]] = {
    "text_config.vocab_size": (49408,),
    "text_config.max_position_embeddings": (77,),
    "text_config.eos_token_id": (2, 49407),
    "text_config.layer_norm_eps": (1e-5,),
    "vision_config.layer_norm_eps": (1e-5,),
    "vision_config.num_channels": (3,),
}
_INTERPOLATION = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


@dataclass(frozen=True)
class Location:
    """Where a model's files are: a folder (``chosen``: one weights file in it), or a repository of the hub.

    ``root`` is where downloads are kept, by default where huggingface_hub keeps them.
    """

    name: str
    folder: Path | None = None
    chosen: Path | None = None
    revision: str | None = None
    root: Path | None = None

    def weights(self) -> Path:
        """Return the weights file, downloaded if need be. Raises ValueError where there is none, or only parts."""
        return self.chosen or self.first(WEIGHTS)

    def first(self, names: Iterable[str]) -> Path:
        """Return the first of these files that there is. Raises as ``weights``."""
        for name in names:
            path = self._file(name)
            if path is not None:
                return path
            if self._file(f"{name}.index.json") is not None:
                raise ValueError(
                    f"{self.name} keeps its weights in parts ({name}.index.json), which are not read: save them as one "
                    'file, by CLIPModel.from_pretrained(...).save_pretrained(FOLDER, max_shard_size="100GB")'
                )
        raise ValueError(f"{self.name} holds neither {' nor '.join(names)}: {ADVICE}")

    def model(self) -> Architecture:
        """Read the configuration files; of the hub's, they alone are downloaded.

        Raises ValueError for a model that is not computed as CLIP is, or files that say nothing.
        """
        content = self.json(CONFIG)
        if content is None:
            hint = "" if self.folder else "; open_clip's models are hf-hub:OWNER/NAME or open_clip:ARCH/PRETRAINED"
            raise ValueError(f"{self.name} has no {CONFIG}, so it is not a Hugging Face model{hint}: {ADVICE}")
        text, vision = _part(content, "text_config", _TEXT), _part(content, "vision_config", _VISION)
        reason = _foreign(content, text, vision)
        if reason:
            raise ValueError(f"{self.name} is not a CLIP as it is computed here ({CONFIG}: {reason}): {ADVICE}")
        computation = Computation(
            quick_gelu=text["hidden_act"] == "quick_gelu",
            vision_head_width=vision["hidden_size"] // vision["num_attention_heads"],
            text_head_width=text["hidden_size"] // text["num_attention_heads"],
        )
        side, shape = vision["image_size"], _shape(content.get("projection_dim", 512), text, vision)
        return Architecture(self.name, computation, shape, side, self._images(side))

    def _images(self, side: int) -> Preprocess | None:
        file, content = "preprocessor_config.json", self.json("preprocessor_config.json")
        if content is None:  # where newer versions keep it
            file = "processor_config.json"
            content = (self.json(file) or {}).get("image_processor")
        if content is None:
            return None
        found = _preprocess(content, side)
        if isinstance(found, str):
            raise ValueError(f"{self.name} makes images in a way that is not known here ({file}: {found}): {ADVICE}")
        return found

    def json(self, name: str) -> dict[str, Any] | None:
        """Return the object in a JSON file, or None without it. Raises ValueError for a broken one."""
        path = self._file(name)
        if path is None:
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not valid JSON ({error})") from error
        if not isinstance(content, dict):
            raise ValueError(f"{path} must hold a JSON object, not a {type(content).__name__}")
        return content

    def _file(self, name: str) -> Path | None:
        if self.folder is None:
            return _download(self, name)
        path = self.folder / name
        return path if path.is_file() else None


def locate(name: str, root: str | os.PathLike[str] | None = None) -> Location | None:
    """Return where the model of a name (see the module's text) is; None for any other name.

    Raises ValueError for ``hf:`` without owner and name.
    """
    if name.startswith(PREFIX):
        match = re.fullmatch(r"hf:[\w.-]+/[\w.-]+(?:@([\w./-]+))?", name)
        if match is None:
            raise ValueError(f"{name!r} names no model of the hub: give hf:OWNER/NAME or hf:OWNER/NAME@REVISION")
        return Location(name, revision=match.group(1), root=None if root is None else Path(root).expanduser())
    path = Path(name).expanduser()
    if name and path.is_dir():
        return Location(name, folder=path)
    if path.name in WEIGHTS and path.is_file() and path.with_name(CONFIG).is_file():
        return Location(name, folder=path.parent, chosen=path)
    return None


def _part(content: Mapping[str, Any], key: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tower's configuration, whole; a ``text_config_dict`` counts before ``text_config``."""
    given = content.get(f"{key}_dict") or content.get(key) or {}
    return {**defaults, **given} if isinstance(given, Mapping) else dict(defaults)


def _foreign(content: Mapping[str, Any], text: Mapping[str, Any], vision: Mapping[str, Any]) -> str:
    """Return what in a configuration is not CLIP as it is computed here, or ""."""
    kind = content.get("model_type")
    if kind != "clip":
        return f"model_type is {kind!r}"
    parts = {"text_config": text, "vision_config": vision}
    flat = {f"{part}.{key}": value for part, values in parts.items() for key, value in values.items()}
    for key, allowed in _FIXED.items():
        if flat[key] not in allowed:
            return f"{key} is {flat[key]!r}"
    if text["hidden_act"] != vision["hidden_act"] or text["hidden_act"] not in ("quick_gelu", "gelu"):
        return f"hidden_act is {text['hidden_act']!r} for texts, {vision['hidden_act']!r} for images"
    for part, values in parts.items():
        for whole, piece in (("hidden_size", "num_attention_heads"), ("image_size", "patch_size")):
            pair = values.get(whole, 1), values.get(piece, 1)
            if not all(isinstance(number, int) and number > 0 for number in pair) or pair[0] % pair[1]:
                return f"{part}.{whole} is {pair[0]}, {piece} {pair[1]}"
    return ""


def _shape(embed_dim: int, text: Mapping[str, Any], vision: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "embed_dim": embed_dim,
        "image_resolution": vision["image_size"],
        "vision_width": vision["hidden_size"],
        "vision_layers": vision["num_hidden_layers"],
        "vision_patch_size": vision["patch_size"],
        "vision_mlp_width": vision["intermediate_size"],
        "transformer_width": text["hidden_size"],
        "transformer_layers": text["num_hidden_layers"],
        "transformer_mlp_width": text["intermediate_size"],
    }


def _preprocess(content: Mapping[str, Any], side: int) -> Preprocess | str:
    """Return how images are made, or what in it is not known here."""
    given = {"do_resize": True, "do_center_crop": True, "do_rescale": True, "do_normalize": True, **content}
    size, crop = given.get("size", side), given.get("crop_size", side)
    squash = isinstance(size, Mapping) and "height" in size
    wrong = [key for key in ("do_resize", "do_rescale", "do_normalize") if not given[key]]
    wrong += [] if given["do_center_crop"] or squash else ["do_center_crop"]
    wrong += [] if abs(given.get("rescale_factor", 1 / 255) * 255 - 1) < 1e-3 else ["rescale_factor"]
    wrong += [] if given.get("resample", 3) in _INTERPOLATION else ["resample"]
    wrong += [] if _side(size) == side else ["size"]
    wrong += [] if not given["do_center_crop"] or _side(crop) == side else ["crop_size"]
    default = {"image_mean": OPENAI_IMAGES.mean, "image_std": OPENAI_IMAGES.std}
    statistics = {key: given.get(key, value) for key, value in default.items()}
    wrong += [key for key, value in statistics.items() if not isinstance(value, list | tuple) or len(value) != 3]
    if wrong:
        return f"{wrong[0]} is {given.get(wrong[0])!r}" + (
            f", images of {side}" if wrong[0] in ("size", "crop_size") else ""
        )
    mean, std = map(tuple, statistics.values())
    return Preprocess(mean, std, _INTERPOLATION[given.get("resample", 3)], squash)


def _side(size: Any) -> int | None:
    """Return the side of a square in pixels (a number, a shortest edge, height and width), or None."""
    if not isinstance(size, Mapping):
        return size
    return size.get("shortest_edge", size.get("height") if size.get("height") == size.get("width") else None)


def _download(where: Location, file: str) -> Path | None:
    """Return a file of a repository, or None without it. Raises ValueError or ConnectionError in one line."""
    from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache, utils

    repository = where.name.partition(":")[2].partition("@")[0]
    try:
        return Path(hf_hub_download(repository, file, revision=where.revision, cache_dir=where.root))
    except utils.GatedRepoError as error:
        page = f"https://huggingface.co/{repository}"
        raise ValueError(f"{where.name} is given on request only: ask for it at {page}, then hf auth login") from error
    except utils.RevisionNotFoundError as error:
        raise ValueError(f"{where.name}: the model has no revision {where.revision!r}") from error
    except utils.RepositoryNotFoundError as error:
        raise ValueError(
            f"{where.name}: the hub has no such model, or it is private: look at the name, or hf auth login"
        ) from error
    except utils.EntryNotFoundError as error:
        if not isinstance(error, utils.LocalEntryNotFoundError):
            return None
        # Without a network: whether the repository has the file is known from an earlier call, or not at all.
        if try_to_load_from_cache(repository, file, where.root, where.revision) is _CACHED_NO_EXIST:
            return None
        raise _unreachable(where, file, error) from error
    except utils.HFValidationError as error:
        raise ValueError(f"{where.name}: {' '.join(str(error).split())}") from error
    except Exception as error:  # of httpx, of requests: whatever the hub's package uses
        raise _unreachable(where, file, error) from error


def _unreachable(where: Location, file: str, error: Exception) -> ConnectionError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ConnectionError(
        f"cannot download {file} of {where.name}: {reason}; try again, or give the path of a folder with {CONFIG} and "
        f"{WEIGHTS[0]}"
    )
