"""CLIP's byte-pair tokenizer under OpenAI's interface; vocabulary, merges and text cleaning are open_clip's.

open_clip calls the two special tokens ``<start_of_text>`` and ``<end_of_text>``. Here they have OpenAI's
names, also inside texts; the ids are the same, and so is everything else.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from functools import lru_cache
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

import regex

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer as OpenClipTokenizer

SPECIAL_TOKENS = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}


class SimpleTokenizer:
    """Text to ids and back.

    Attributes ``encoder`` (token to id), ``decoder`` (id to token), ``byte_encoder``, ``byte_decoder``,
    ``bpe_ranks``, ``cache`` and ``pat`` are those of OpenAI's class.
    """

    def __init__(self) -> None:
        base = _open_clip_tokenizer()
        self.encoder: dict[str, int] = {SPECIAL_TOKENS.get(t, t): i for t, i in base.encoder.items()}
        self.decoder: dict[int, str] = {i: t for t, i in self.encoder.items()}
        self.byte_encoder: dict[int, str] = base.byte_encoder
        self.byte_decoder: dict[str, int] = base.byte_decoder
        self.bpe_ranks: dict[tuple[str, str], int] = base.bpe_ranks
        self.cache = {t: t for t in SPECIAL_TOKENS.values()}
        pattern = base.pat.pattern
        for theirs, ours in SPECIAL_TOKENS.items():
            pattern = pattern.replace(theirs, regex.escape(ours))
        self.pat = regex.compile(pattern, regex.IGNORECASE)
        self._merge, self._clean = base.bpe, base.clean_fn

    def bpe(self, token: str) -> str:
        """Split one word, given in byte symbols, into vocabulary entries joined by spaces."""
        if token not in self.cache:
            self.cache[token] = self._merge(token)
        return self.cache[token]

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text without start and end token; ftfy, HTML unescaping, single spaces, lower case."""
        ids: list[int] = []
        for word in self.pat.findall(self._clean(text)):
            symbols = "".join(self.byte_encoder[b] for b in word.encode("utf-8"))
            ids.extend(self.encoder[part] for part in self.bpe(symbols).split(" "))
        return ids

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of ids; each word is followed by a space, bytes that are no UTF-8 become U+FFFD."""
        symbols = "".join(self.decoder[int(token)] for token in tokens)
        text = bytes(self.byte_decoder[symbol] for symbol in symbols).decode("utf-8", errors="replace")
        return text.replace("</w>", " ")


@lru_cache(maxsize=1)
def _open_clip_tokenizer() -> OpenClipTokenizer:
    """On first use, as much of clip/ does without text; alone, as the package imports all its models, for a second."""
    package = importlib.util.find_spec("open_clip")
    spec = package and PathFinder.find_spec("open_clip.tokenizer", package.submodule_search_locations)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("open_clip is not installed: pip install -r requirements.txt", name="open_clip")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # The module makes one for itself as it is loaded; another would take as long again.
    return getattr(module, "_tokenizer", None) or module.SimpleTokenizer()
