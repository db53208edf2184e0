"""Image-text models of open_clip's families at toy width, each a folder as open_clip publishes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from safetensors.torch import save_file

SIDE = 160  # of timm's models for tests
_TEXT = {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
_SIGLIP_TEXT = _TEXT | {
    **{"no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
    **{"norm_kwargs": {"eps": 1e-6}, "act_kwargs": {"approximate": "tanh"}},
}
_POOLED = {"image_size": 32, "patch_size": 16, "width": 64, "layers": 2, "attentional_pool": True}


def _timm(name: str, pool: str, proj: str | None) -> dict[str, Any]:
    return {"image_size": SIDE, "timm_model_name": name, "timm_pool": pool, "timm_proj": proj}


# SigLIP: attention pooling, a bias, texts with no causal mask. EVA, MobileCLIP: timm's classifier is the projection.
# BiomedCLIP, ConvNeXt: a linear head over timm. CoCa: attention pooling in open_clip's own ViT, a decoder.
FAMILIES: dict[str, dict[str, Any]] = {
    "siglip": {
        **{"embed_dim": 96, "custom_text": True, "init_logit_bias": -10, "text_cfg": _SIGLIP_TEXT},
        "vision_cfg": _timm("test_vit3", "map", "none"),
    },
    "eva": {"embed_dim": 48, "custom_text": True, "text_cfg": _TEXT, "vision_cfg": _timm("test_vit", "token", None)},
    "convnext": {"embed_dim": 48, "text_cfg": _TEXT, "vision_cfg": _timm("test_convnext", "avg", "linear")},
    "coca": {
        **{"embed_dim": 48, "custom_text": True, "text_cfg": _TEXT | {"embed_cls": True, "output_tokens": True}},
        "vision_cfg": _POOLED | {"attn_pooler_heads": 2, "output_tokens": True},
        "multimodal_cfg": {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
    },
}
IMAGES = {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.6, 0.7], "interpolation": "bicubic", "resize_mode": "squash"}


def write(family: str, folder: Path) -> None:
    """Write a family's model with random weights into a folder."""
    content = {"model_cfg": FAMILIES[family], "preprocess_cfg": IMAGES}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    # What open_clip leaves without initial values is of no use for features.
    tensors = {key: value.nan_to_num(0).clone() for key, value in model.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")


def of_open_clip(folder: Path) -> tuple[Any, Any, Any]:
    """Return what open_clip makes of a folder: model, preprocessing, tokenizer."""
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    side = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]["vision_cfg"]["image_size"]
    images = image_transform_v2(PreprocessCfg(size=side, **IMAGES), is_train=False)
    return model, images, open_clip.get_tokenizer(f"local-dir:{folder}")
