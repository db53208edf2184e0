"""CLIP with OpenAI's interface, reached by ``from clip import clip`` and by ``import clip`` alike."""

from .clip import _MODELS, _download, available_models, build_model, load, tokenize

__all__ = ["_MODELS", "_download", "available_models", "build_model", "load", "tokenize"]
