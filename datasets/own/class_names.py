"""What the classes of a user's own data are called, and when two names would be one to CLIP."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from typing import Any

from common.text import is_text, read_users_text, unescape

from ..shared.files import read_rows

VARIATION_SELECTORS = (*range(0x180B, 0x180E), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
INVISIBLE = frozenset(map(chr, (*VARIATION_SELECTORS, 0x034F, 0x115F, 0x1160, 0x3164, 0xFFA0)))
"""Characters without a shape that Unicode does not count among the format characters (Cf) and controls (Cc)."""


def name_key(name: str) -> str:
    """Return a class name with case, Unicode form, underscores, spaces and what cannot be seen evened out.

    Names with equal keys are one class: their prompts read alike.
    """
    spaced = " ".join(name.replace("_", " ").split())
    seen = "".join(c for c in spaced if c not in INVISIBLE and unicodedata.category(c) not in ("Cf", "Cc"))
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", seen).casefold())
    return " ".join(folded.split())


def tell_apart(owner: str, named: Iterable[tuple[str, str]]) -> None:
    """See that class names differ in what can be read.

    Args:
        owner: whose they are, for the message.
        named: name of each class, and where it comes from.

    Raises:
        ValueError: a name of nothing to read, or two that are one; the message has both and their places.
    """
    known: dict[str, tuple[str, str]] = {}
    for name, place in named:
        key = name_key(name)
        if not is_text(name):
            raise ValueError(
                f"{owner}: the class name {name!r} ({place}) is not UTF-8, so that no prompt can hold it: rename it, or"
                f" give it a name in a file of class names, as {name}"
            )
        if not key:
            raise ValueError(f"{owner}: the class name {ascii(name)} ({place}) holds nothing to read: choose another")
        if key in known:
            raise ValueError(
                f"{owner}: the class names {_contrast(known[key], (name, place))} are one to CLIP: make them one class,"
                " or give them names that differ in more than case, spaces and what cannot be seen"
            )
        known[key] = name, place


def _contrast(*named: tuple[str, str]) -> str:
    """Names with their places; escaped where they would look alike."""
    names, places = zip(*named, strict=True)
    name_as = ascii if _look_alike(names) else repr
    place_as = ascii if _look_alike(places) else str
    return " and ".join(f"{name_as(name)} ({place_as(place)})" for name, place in named)


def _look_alike(texts: Iterable[str]) -> bool:
    return len({unicodedata.normalize("NFC", text) for text in texts}) == 1


def number_classes(keys: Iterable[str], names: dict[str, str] | None, source: str) -> dict[str, tuple[int, str]]:
    """Return label and name of each class key (folder, or class name of a table).

    Without a file of names the order is that of the sorted keys, underscores in a name become spaces; with one it is
    the file's, and names that no key has are left out. The Unicode form of keys does not matter: file systems differ.

    Raises:
        ValueError: a key that the file does not name; ``source`` says where it comes from.
    """
    wanted = sorted({(unicodedata.normalize("NFC", key), key) for key in keys})
    if names is None:
        return {key: (label, form.replace("_", " ")) for label, (form, key) in enumerate(wanted)}
    place = {key: number for number, key in enumerate(names)}
    unnamed = [key for form, key in wanted if form not in place]
    if unnamed:
        raise ValueError(f"{source}: the file of class names has no line for {unnamed[0]!r}: add it")
    present = sorted(wanted, key=lambda pair: place[pair[0]])
    return {key: (label, names[form]) for label, (form, key) in enumerate(present)}


def read_names(path: str) -> dict[str, str]:
    """Read class names by key (folder, class or label, in NFC), in the file's order.

    A text file has a key and a name per line, as ImageNet's classnames.txt of CoOp. A ``.json`` file has an object, or
    a list of names in the order of labels.

    Raises:
        ValueError: another form, a key that comes twice, or an empty name.
    """
    in_json = path.lower().endswith(".json")
    pairs: Any = _json_names(path) if in_json else (row for _, row in read_rows(path, "folder name", read_users_text))
    names: dict[str, str] = {}
    for key, name in ((unicodedata.normalize("NFC", unescape(key)), name) for key, name in pairs):
        if key in names:
            raise ValueError(f"{path}: {key!r} comes twice")
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{path}: the name of {key!r} must be text, got {name!r}")
        names[key] = unicodedata.normalize("NFC", name.strip())
    return names


def _json_names(path: str) -> list[tuple[str, Any]]:
    try:
        content = json.loads(read_users_text(path), object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not valid JSON ({error.msg})") from None
    if isinstance(content, _Pairs):
        return content
    if isinstance(content, list):
        return [(str(label), name) for label, name in enumerate(content)]
    raise ValueError(f"{path}: expected a JSON object of names by folder or a list of names")


class _Pairs(list):
    """A JSON object as pairs, so that a key that comes twice is seen."""
