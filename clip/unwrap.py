"""The weights in what people save: out of its wrappers, without the prefixes that training code puts before names.

A wrapper is an entry of a name in ``WRAPPERS`` that holds tensors, at any depth up to four; what stands beside it
(epoch, optimiser, arguments) is not looked at. Prefixes are any chain of those in ``_CHAIN``, before CLIP's names. All
rules are exact: one place must hold a CLIP, and what is left out of it is named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
# Averages of the weights over training steps, which many keep beside them.
AVERAGES = ("state_dict_ema", "model_state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema")
DEPTH = 4
COMPILED = "_orig_mod."  # of torch.compile, which also puts it between names
_CHAIN = r"(?:module\.|_orig_mod\.|model\.|clip\.)*"
_TOWERS = ("visual.", "vision_model.")  # of OpenAI's names, of Hugging Face's


def unwrap(content: Any) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors of a file's content under their own names, and notes for the file's reader, a line each.

    Raises ValueError where there are no weights, or more than one set of them.
    """
    notes: list[str] = []
    return _without_prefixes(_only_tensors(_open(content, notes)), notes), notes


def shown(names: Iterable[str], count: int = 3) -> str:
    """List the first names, and say how many more there are."""
    names = list(names)
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")


def _open(content: Any, notes: list[str], depth: int = 0) -> Any:
    if not isinstance(content, Mapping) or depth == DEPTH:
        return content
    found, averages = ([key for key in keys if _leads_to_tensors(content.get(key))] for keys in (WRAPPERS, AVERAGES))
    several = found or averages
    if len(several) > 1:
        raise ValueError(
            f"it holds weights under {' and '.join(map(repr, several))}: keep those that are meant, with "
            f"torch.save(checkpoint[{several[0]!r}], FILE)"
        )
    if averages:
        beside = f"the weights {found[0]!r} and their average {shown(map(repr, averages))}" if found else ""
        notes.append(f"it holds {beside or f'an average of weights only, {averages[0]!r}'}: {several[0]!r} is read")
    return _open(content[several[0]], notes, depth + 1) if several else content


def _leads_to_tensors(value: Any, depth: int = 0) -> bool:
    if not isinstance(value, Mapping) or depth == DEPTH:
        return False
    inner = (value.get(key) for key in (*WRAPPERS, *AVERAGES))
    return any(isinstance(item, Tensor) for item in value.values()) or any(
        _leads_to_tensors(item, depth + 1) for item in inner
    )


def _only_tensors(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"expected a CLIP state dict, found {type(content).__name__} without weights")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(f"expected a CLIP state dict, but {key!r} is of type {type(value).__name__}")
    return dict(content)


def _without_prefixes(tensors: dict[str, Tensor], notes: list[str]) -> dict[str, Tensor]:
    prefix = _prefix(tensors)
    beside = [key for key in tensors if not key.startswith(prefix)]
    if beside:
        notes.append(f"CLIP's weights are those under {prefix!r}; left out beside them: {shown(beside)}")
    inside = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    plain = {key.replace(COMPILED, ""): value for key, value in inside.items()}
    if len(plain) != len(inside):
        raise ValueError(f"it holds weights with and without {COMPILED!r} in their names: keep one of both")
    return plain


def _prefix(tensors: dict[str, Tensor]) -> str:
    """Return what stands before CLIP's names; where nothing is a CLIP, before all names."""
    ends = [match.group(1) for key in tensors if (match := re.fullmatch(rf"({_CHAIN})logit_scale", key))]
    # A tower may be compiled by itself: its name then follows the same prefix.
    places = [end for end in ends if any(key.startswith(tuple(end + tower for tower in _TOWERS)) for key in tensors)]
    if len(places) > 1:
        raise ValueError(f"it holds {len(places)} CLIPs, under {' and '.join(map(repr, places))}: keep one of them")
    if places:
        return places[0]
    match = re.match(_CHAIN, os.path.commonprefix(list(tensors)))
    return match.group() if match else ""
