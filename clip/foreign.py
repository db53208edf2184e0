"""Models that are not CLIP, known by their tensors' names, so that they are refused by their own name."""

from __future__ import annotations

import re
from collections.abc import Collection

ADVICE = "give a CLIP, such as ViT-B/16, open_clip:ViT-B-16/laion2b_s34b_b88k or hf:openai/clip-vit-base-patch16"
# A pattern that begins a name, what has such names, and a name that must be there as well.
_MARKS: tuple[tuple[str, str, str], ...] = (
    (r"(text_model|vision_model)\.head\.", "a SigLIP", ""),
    (r"visual\.trunk\.", "a SigLIP", "logit_bias"),
    (r"visual\.trunk\.", "an open_clip model with an image tower of timm's", ""),
    (r"visual\.(blocks|rope)\.", "an EVA-CLIP", ""),
    (r"(visual_encoder|text_decoder)\.", "a BLIP", ""),
    (r"bert\.", "a Chinese-CLIP", "logit_scale"),
)
_PROMPTS = re.compile(r"(.*\.)?(prompt_learner\..*|ctx|token_prefix)$")


def check(keys: Collection[str]) -> None:
    """Raise ValueError where names of tensors are those of a known model that is not CLIP, or of learned prompts."""
    prompts = next(filter(_PROMPTS.match, keys), None)
    if prompts:
        raise ValueError(
            f"it holds learned prompts ({prompts}), not a CLIP: give its run's folder with --model-dir, "
            "and as MODEL.BACKBONE.NAME the CLIP that they were learned on"
        )
    for pattern, kind, beside in _MARKS:
        found = next(filter(re.compile(pattern).match, keys), None)
        if found and (not beside or beside in keys):
            way = "name it as open_clip:ARCH:FILE for a method on features, or " if pattern.startswith("visual") else ""
            raise ValueError(f"it is {kind} ({found}), which is not computed as CLIP is: {way}{ADVICE}")
