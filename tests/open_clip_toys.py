"""open_clip's architectures at toy width: depth, patch size, head width and activation are the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

# Shape, open_clip's architecture of it, and how its image tower is changed; the first four are OpenAI's.
SHAPES: dict[str, tuple[str, dict[str, int]]] = {
    "ViT-B/32": ("ViT-B-32-quickgelu", {}),
    "ViT-B/16": ("ViT-B-16-quickgelu", {}),
    "ViT-L/14": ("ViT-L-14-quickgelu", {}),
    "ViT-L/14@336px": ("ViT-L-14-336-quickgelu", {}),
    "plain GELU": ("ViT-B-16", {}),
    # Four heads, where 64-wide ones would be five; 16 of 32 layers.
    "heads of 80": ("ViT-H-14", {"width": 320, "image_size": 84, "layers": 16}),
}


def toy_config(arch: str, **vision: Any) -> dict[str, Any]:
    """open_clip's configuration of ``arch``, its image tower one head wide or as ``vision`` says; two text heads."""
    config = open_clip.get_model_config(arch)
    config["embed_dim"] = 24
    config["vision_cfg"] |= {"width": 64, **vision}
    config["text_cfg"] |= {"width": 128, "heads": 2}
    return config


def register(monkeypatch: Any, name: str, config: dict[str, Any]) -> None:
    """Make open_clip know the architecture ``name`` while the test runs."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)


def write_model(name: str, path: Path) -> torch.nn.Module:
    """open_clip's model of a registered architecture with random weights that all matter, kept at ``path``."""
    torch.manual_seed(0)
    model = open_clip.create_model(name).eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.endswith("bias"):
                value.normal_(std=0.1)
            elif "ln_" in key:
                value.uniform_(0.5, 1.5)
    save_file(model.state_dict(), path)
    return model
