"""The hand-written prompts of the data sets (paper, Table 7), by registry name; ``{}`` is the class name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import Tensor

from clip import tokenize

from .settings import Settings

TEMPLATES = {
    "ImageNet": "a photo of a {}.",
    "ImageNetV2": "a photo of a {}.",
    "ImageNetSketch": "a photo of a {}.",
    "ImageNetA": "a photo of a {}.",
    "ImageNetR": "a photo of a {}.",
    "Caltech101": "a photo of a {}.",
    "OxfordPets": "a photo of a {}, a type of pet.",
    "StanfordCars": "a photo of a {}.",
    "OxfordFlowers": "a photo of a {}, a type of flower.",
    "Food101": "a photo of {}, a type of food.",
    "FGVCAircraft": "a photo of a {}, a type of aircraft.",
    "SUN397": "a photo of a {}.",
    "DescribableTextures": "{} texture.",
    "EuroSAT": "a centered satellite photo of {}.",
    "UCF101": "a photo of a person doing {}.",
    "Digits": "a photo of the digit {}.",
    "DrawnLetters": "a photo of a {}.",
    "DrawnGreek": "a photo of a {}.",
    "DrawnSymbols": "a photo of a {}.",
    "DrawnLettersV2": "a photo of a {}.",
    "DrawnLettersSketch": "a photo of a {}.",
    "DrawnLettersA": "a photo of a {}.",
    "DrawnLettersR": "a photo of a {}.",
}

# Those of ProGrad and ProVP, where they differ.
NAME_LAST_TEMPLATES = {
    "OxfordPets": "a type of pet, a photo of a {}.",
    "OxfordFlowers": "a type of flower, a photo of a {}.",
    "FGVCAircraft": "a type of aircraft, a photo of a {}.",
    "Food101": "a type of food, a photo of {}.",
    "DescribableTextures": "a texture of {}.",
}

# The seven templates that CLIP's authors found to work best together on ImageNet.
IMAGENET_ENSEMBLE = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)


def imagenet_templates() -> list[str]:
    """Return the 80 templates of ImageNet that CLIP's authors published, in their order."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES  # slow to import, and few need it

    return [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]


def check_texts(cfg: Any, settings: Settings) -> None:
    """Check what a user may say in words: DATASET.TEMPLATE, and CTX_INIT or TEXT_CTX_INIT of a method's settings.

    Raises ValueError naming the key and what to write.
    """
    if cfg.DATASET.TEMPLATE:
        check_template(cfg.DATASET.TEMPLATE)
    for key, words in settings.values().items():
        if key.endswith("CTX_INIT") and isinstance(words, str):
            check_words(words, settings.key(key))


def check_template(template: str) -> None:
    """Raise ValueError unless a template holds ``{}`` once, and no other brace."""
    if template.count("{}") != 1 or re.search("[{}]", template.replace("{}", "")):
        raise ValueError(f"DATASET.TEMPLATE {template!r} must hold {{}} once, where the class name goes")


def check_words(words: str, key: str) -> None:
    """Raise ValueError unless a class name and a full stop can follow these words: no template, not too long."""
    if re.search(r"[{}]|\.[\s_]*$", words):
        before = re.split("[{}]", words)[0].strip(" _.") or "a photo of a"
        raise ValueError(
            f"{key} {words!r} must be the words before the class name, which follows by itself, with a full stop: "
            f"write {before!r}"
        )
    try:
        tokenize(fill(f"{words} {{}}.", ["X"]))
    except RuntimeError as problem:
        raise ValueError(f"{key} is too long: with a class name a prompt has at most 77 tokens") from problem


def template_of(cfg: Any, own: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return ``DATASET.TEMPLATE``, or the data set's template: a method's ``own``, else the common one.

    Raises ValueError where there is none, or it does not hold ``{}`` once.
    """
    template = cfg.DATASET.TEMPLATE or {**TEMPLATES, **own}.get(cfg.DATASET.NAME)
    if template is None:
        raise ValueError(
            f"there is no prompt template for dataset {cfg.DATASET.NAME!r}: set DATASET.TEMPLATE 'a photo of a {{}}.'"
        )
    check_template(template)
    return template


def ensemble_of(cfg: Any) -> Sequence[str]:
    """Return the templates whose features are averaged: seven for ImageNet, else the data set's or DATASET.TEMPLATE."""
    ensemble = cfg.DATASET.NAME == "ImageNet" and not cfg.DATASET.TEMPLATE
    return IMAGENET_ENSEMBLE if ensemble else [template_of(cfg)]


def fill(template: str, classnames: Sequence[str]) -> list[str]:
    """Return one prompt per class; underscores in names become spaces."""
    return [template.format(name.replace("_", " ")) for name in classnames]


def tokenizer_of(clip_model: Any) -> Callable[..., Tensor]:
    """Return what makes token ids of texts for a model: its own tokenizer (``clip.image_text``), or CLIP's."""
    return getattr(clip_model, "tokenize", tokenize)


def same_prompts(cfg: Any, classnames: Sequence[str], tokenizer: Callable[..., Tensor] = tokenize) -> str:
    """Return a line that names the classes whose prompts have the same tokens, ``""`` if there are none.

    Names may differ and the tokens not: the tokenizer evens out case, spaces and some Unicode forms.
    """
    template = cfg.DATASET.TEMPLATE or TEMPLATES.get(cfg.DATASET.NAME, "{}")
    prompts = [template.replace("{}", name.replace("_", " ")) for name in classnames]
    alike: dict[bytes, list[int]] = {}
    for label, row in enumerate(tokenizer(prompts, truncate=True).numpy()):
        alike.setdefault(row.tobytes(), []).append(label)
    groups = [labels for labels in alike.values() if len(labels) > 1]
    if not groups:
        return ""
    shown = "; ".join(" and ".join(f"{classnames[label]!r} (label {label})" for label in group) for group in groups[:3])
    more = f"; and {len(groups) - 3} more" if len(groups) > 3 else ""
    return f"the prompts of these classes have the same tokens, so the text tower cannot tell them apart: {shown}{more}"


def prompt_tokens(prompts: Sequence[str], tokenizer: Callable[..., Tensor] = tokenize) -> Tensor:
    """Return token ids ``[C, 77]``. Raises ValueError naming the first prompt that is too long."""
    try:
        return tokenizer(list(prompts))
    except RuntimeError as problem:
        raise ValueError(f"{problem}: shorten the class name or the template") from problem
