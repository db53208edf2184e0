"""The names that Hugging Face's ``CLIPModel`` gives to CLIP's tensors, and OpenAI's for the same.

There, the three matrices of an attention's input are apart, and projections are linear layers: transposed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

BUFFERS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")
_SAME = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
}
_TRANSPOSED = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}
_MODULES = {
    "text_model.final_layer_norm": "ln_final",
    "vision_model.pre_layrnorm": "visual.ln_pre",  # so spelt there
    "vision_model.post_layernorm": "visual.ln_post",
}
_TOWERS = {"text_model": "transformer", "vision_model": "visual.transformer"}
_IN_A_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_BLOCK = re.compile(r"(text_model|vision_model)\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")


def openai_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under OpenAI's names, if theirs are Hugging Face's; an unknown name stays as it is."""
    if not any(key.startswith(tuple(_TOWERS)) for key in tensors):
        return dict(tensors)
    found: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if key in _TRANSPOSED and value.dim() == 2:
            found[_TRANSPOSED[key]] = value.t().contiguous()
        else:
            found[_name(key)] = value
    return _join_inputs(found)


def _name(key: str) -> str:
    if key in _SAME:
        return _SAME[key]
    module, _, kind = key.rpartition(".")
    if module in _MODULES:
        return f"{_MODULES[module]}.{kind}"
    match = _BLOCK.fullmatch(key)
    if match and match.group(3) in _IN_A_BLOCK:
        return f"{_TOWERS[match.group(1)]}.resblocks.{match.group(2)}.{_IN_A_BLOCK[match.group(3)]}.{kind}"
    return key


def _join_inputs(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join query, key and value of each attention, where all three are there and of one shape."""
    for key in [key for key in tensors if ".self_attn.q_proj." in key]:
        parts = [key.replace("q_proj", f"{part}_proj") for part in "qkv"]
        match = _BLOCK.fullmatch(key)
        if match and len({tensors[part].shape if part in tensors else None for part in parts}) == 1:
            place = f"{_TOWERS[match.group(1)]}.resblocks.{match.group(2)}.attn.in_proj_{match.group(4)}"
            tensors[place] = torch.cat([tensors.pop(part) for part in parts])
    return tensors
