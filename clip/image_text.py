"""Image-text models that open_clip computes: SigLIP, EVA, MobileCLIP, BiomedCLIP and whatever else it configures.

An ``ImageTextModel`` has, under CLIP's names, what is needed to work with the features of both towers; layers are
open_clip's own and closed. Scores are ``logit_scale.exp()`` times cosines, as CLIP's. A sigmoid loss also learns a
bias (``logit_bias``), the same number for all pairs of image and text: it moves sigmoids, and cancels in a softmax
over classes.

Shapes: B images or texts, N context length, d joint width, d_v width before the image tower's projection.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import open_clip_models
from .model import check_keys, shapes_of
from .shape import check_images
from .state_dict import read_named


class ImageTower(nn.Module):
    """The image side of an open_clip model: pixels ``[B, 3, side, side]`` to features ``[B, d]``, not normalised.

    ``projection`` is the linear map into the joint space that the tower ends in, taken out of it; None where it ends
    in something else, as SigLIP's does in attention.
    """

    def __init__(self, model: Any, side: int, width: int):
        super().__init__()
        self.model, self.input_resolution, self.output_dim = model, side, width
        self.projection = _take_projection(model.visual)

    def before_projection(self, images: Tensor) -> Tensor:
        """Return what ``projection`` is applied to, ``[B, d_v]``; without one the features themselves."""
        check_images(images, self.input_resolution)
        return self.model.encode_image(images, normalize=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``[B, d]``. Raises ValueError where the image size is not the tower's."""
        features = self.before_projection(images)
        return features if self.projection is None else self.projection(features)


class ImageTextModel(nn.Module):
    """A model of open_clip's as methods on frozen features use a CLIP.

    Args:
        model: open_clip's, whose weights stay float32.
        tokenizer: its own, from texts to ids ``[B, N]``.
        tower: its image side.
        dtype: of half precision the towers work under autocast.
    """

    def __init__(self, model: Any, tokenizer: Any, tower: ImageTower, dtype: torch.dtype):
        super().__init__()
        self.visual, self.tokenizer, self.dtype = tower, tokenizer, dtype

    @property
    def logit_scale(self) -> Tensor:
        """Return the logarithm of what cosines are multiplied by, a scalar."""
        return self.visual.model.logit_scale.reshape(())

    @property
    def logit_bias(self) -> Tensor | None:
        """Return what a sigmoid loss adds to all scores, a scalar, or None."""
        return self.visual.model.logit_bias

    def tokenize(self, texts: Sequence[str], truncate: bool = False) -> Tensor:
        """Return the token ids ``[B, N]`` of texts. One that is too long raises RuntimeError, or loses its end."""
        length = self.tokenizer.context_length
        for text in () if truncate else texts:
            if _count(self.tokenizer, text) > length:
                raise RuntimeError(f"Input {text} is too long for context length {length}")
        return self.tokenizer(list(texts))

    def encode_text(self, text: Tensor) -> Tensor:
        """Encode token ids ``[B, N]``: features ``[B, d]``, not normalised."""
        with self._precision():
            return self.visual.model.encode_text(text.to(self.logit_scale.device), normalize=False)

    def encode_image(self, image: Tensor) -> Tensor:
        """Encode images ``[B, 3, side, side]``: features ``[B, d]``, not normalised."""
        with self._precision():
            return self.visual(image)

    def _precision(self) -> AbstractContextManager:
        low = self.dtype != torch.float32
        return torch.autocast(self.logit_scale.device.type, self.dtype) if low else nullcontext()


def build(name: str, config: Mapping[str, Any], path: Path, dtype: torch.dtype) -> Any:
    """Build the model of open_clip's configuration with the weights of a file, in evaluation mode, on the CPU.

    Raises ValueError for a configuration that this open_clip cannot build, a file that does not fit it, or a package
    that is missing; RuntimeError where a tokenizer cannot be had.
    """
    check_packages(name, config)
    model, tensors = _empty(name, config), read_named(path)
    try:
        check_keys(shapes_of(model), wanted := _as_open_clips(model, tensors), name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    model.load_state_dict(wanted)
    side = config["vision_cfg"].get("image_size", 224)
    tower = ImageTower(model.eval(), side, config["embed_dim"])
    return ImageTextModel(model, _tokenizer(name), tower, dtype).eval()


def check_packages(name: str, config: Mapping[str, Any]) -> None:
    """Raise ValueError naming the package that a configuration needs and that is not installed."""
    text = config["text_cfg"]
    asks = next((f"{key} {text[key]}" for key in ("hf_model_name", "hf_tokenizer_name") if text.get(key)), "")
    if asks and find_spec("transformers") is None:
        raise ValueError(f"{name} needs the package transformers, for its {asks}: pip install transformers")


def digest(config: Mapping[str, Any]) -> str:
    """Return a name of a configuration: two of one name compute the same."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, allow_nan=False).encode()).hexdigest()[:12]


def _empty(name: str, config: Mapping[str, Any]) -> Any:
    """Return open_clip's model with initial values; nothing is downloaded but configurations that it names."""
    from open_clip import CLIP, CoCa, CustomTextCLIP

    parts = deepcopy(dict(config))
    custom = parts.pop("custom_text", False) or parts["text_cfg"].get("hf_model_name")
    parts["vision_cfg"]["timm_model_pretrained"] = parts["text_cfg"]["hf_model_pretrained"] = False
    kind = CoCa if "multimodal_cfg" in parts else CustomTextCLIP if custom else CLIP
    try:
        return kind(**parts)
    except (TypeError, ValueError, RuntimeError, OSError, LookupError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{name} cannot be built by the open_clip and timm installed here: {reason}") from error


def _as_open_clips(model: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of a file under the model's names: of Apple's MobileCLIP, of CLIP's without ``text.``."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    found, wanted = convert_state_dict(model, dict(tensors)), model.state_dict()
    if "positional_embedding" in found and "positional_embedding" not in wanted:
        found = convert_to_custom_text_state_dict(found)
    for key in ("logit_scale", "logit_bias"):  # some files have [1] for a scalar
        if key in found and key in wanted and found[key].numel() == 1:
            found[key] = found[key].reshape(wanted[key].shape)
    buffer = "text.transformer.embeddings.position_ids"  # of older versions of transformers
    return {key: value for key, value in found.items() if key != buffer or key in wanted}


def _tokenizer(name: str) -> Any:
    import open_clip

    place = open_clip_models.locate(name)
    try:
        return open_clip.get_tokenizer(name if place is None or place.folder is None else f"local-dir:{place.folder}")
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RuntimeError(f"cannot get the tokenizer of {name}: {reason}") from error


def _count(tokenizer: Any, text: str) -> int:
    """Return how many tokens a text has, start and end included."""
    if hasattr(tokenizer, "encode"):  # open_clip's own
        return len(tokenizer.encode(text)) + 2
    return len(tokenizer.tokenizer(tokenizer.clean_fn(text)).input_ids)


def _take_projection(visual: Any) -> nn.Linear | None:
    """Return the linear map that an image tower ends in, and leave none in its place."""
    if isinstance(weight := getattr(visual, "proj", None), nn.Parameter):
        linear = nn.Linear(weight.shape[0], weight.shape[1], bias=False, device="meta")
        linear.weight = nn.Parameter(weight.detach().t())
        visual.proj = None
        return linear
    if not hasattr(visual, "trunk"):
        return None
    found = getattr(visual.head, "proj", None) if len(visual.head) else visual.trunk.get_classifier()
    if not isinstance(found, nn.Linear):
        return None
    for parent in visual.modules():
        for key, child in list(parent.named_children()):
            if child is found:
                setattr(parent, key, nn.Identity())
    return found
