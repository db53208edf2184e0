"""The table of sources, read and checked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

TABLE = Path(__file__).with_name("sources.yaml")
DRIVE = "gdrive:"
DIGITS = {"sha256": 64, "md5": 32, "blob": 40}


@dataclass(frozen=True)
class Source:
    """One download: the same bytes from each of its URLs."""

    file: str
    urls: tuple[str, ...] = ()
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None
    blob: str | None = None
    inner: str | None = None
    into: str = ""

    @property
    def digest(self) -> tuple[str, str] | None:
        """Kind (sha256, md5 or blob) and hexadecimal digits of the strongest known hash."""
        return next(((kind, getattr(self, kind)) for kind in DIGITS if getattr(self, kind)), None)

    def __str__(self) -> str:
        known = [f"{self.size} bytes"] if self.size else []
        known += [" ".join(self.digest)] if self.digest else []
        return f"{self.file} ({', '.join(known)})" if known else self.file


@dataclass(frozen=True)
class Part:
    """Something to fetch: paths in the dataset's folder, and where they come from."""

    gives: tuple[str, ...]
    sources: tuple[Source, ...]
    aliases: tuple[str, ...] = ()
    spare: bool = False
    devkit: Source | None = None

    @property
    def is_file(self) -> bool:
        """Whether it is a single file, downloaded as it is."""
        return self.gives[0] == self.sources[0].file


@dataclass(frozen=True)
class Entry:
    """A dataset: how to get it, and what it must look like."""

    name: str
    folder: str
    images: str = ""
    classes: int = 0
    counts: tuple[int, ...] = ()
    names: str = ""
    per_class: int = 0
    unlisted: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    whole: tuple[Source, ...] = ()
    elsewhere: tuple[str, ...] = ()

    @property
    def split(self) -> Source | None:
        """The published split file, if the dataset has one."""
        name = f"split_zhou_{self.name}.json"
        return next((source for part in self.parts for source in part.sources if source.file == name), None)

    @property
    def archives(self) -> dict[str, Source]:
        """Every known file by its name, also those that only the user can fetch."""
        sources = [source for part in self.parts for source in (*part.sources, part.devkit) if source]
        return {source.file: source for source in (*sources, *self.whole)}

    def part_of(self, path: str) -> str | None:
        """Return the entry of ``gives`` that ``path`` (in the dataset's folder) belongs to."""
        given = [give for part in self.parts for give in part.gives]
        return next((give for give in given if path == give or path.startswith(f"{give}/")), None)


@dataclass(frozen=True)
class Table:
    """All datasets by registry name, all CLIP weights by model name, ImageNet's names, its WordNet ids with marks."""

    datasets: dict[str, Entry]
    weights: dict[str, Source]
    classnames: Source
    wnids: dict[str, str] = field(default_factory=dict)

    def marked(self, mark: str = "") -> list[str]:
        """Return the sorted WordNet ids with the mark (``A``, ``R``), or all."""
        return sorted(wnid for wnid, marks in self.wnids.items() if mark in marks)


def load(path: Path = TABLE) -> Table:
    """Read a table; ``imagenet_wnids.txt`` is expected beside it.

    Raises ValueError: an unknown key, a missing one, or a hash of the wrong length; the message names the place.
    """
    content = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    prefixes = content["prefixes"]
    lines = path.with_name("imagenet_wnids.txt").read_text(encoding="utf-8").splitlines()
    return Table(
        {name: _entry(name, fields, prefixes, path) for name, fields in content["datasets"].items()},
        {name: _source(fields, prefixes, f"{path}: {name}") for name, fields in content["weights"].items()},
        _source(content["classnames"], prefixes, str(path)),
        {wnid: marks for wnid, _, marks in (line.partition(" ") for line in lines)},
    )


def _entry(name: str, fields: dict[str, Any], prefixes: dict[str, str], path: Path) -> Entry:
    place = f"{path}: {name}"
    entry: Entry = _build(Entry, {"name": name, **fields}, place)
    parts = tuple(_part(part, prefixes, place) for part in entry.parts)
    return replace(entry, parts=parts, whole=tuple(_source(source, prefixes, place) for source in entry.whole))


def _part(fields: Any, prefixes: dict[str, str], place: str) -> Part:
    part: Part = _build(Part, fields, place)
    devkit = _source(part.devkit, prefixes, place) if part.devkit else None
    return replace(part, sources=tuple(_source(source, prefixes, place) for source in part.sources), devkit=devkit)


def _source(fields: Any, prefixes: dict[str, str], place: str) -> Source:
    source: Source = _build(Source, fields, place)
    place = f"{place}: {source.file}"
    for kind, digits in DIGITS.items():
        text = getattr(source, kind)
        if text is not None and (len(text) != digits or set(text) - set("0123456789abcdef")):
            raise ValueError(f"{place}: {kind} must be {digits} hexadecimal digits, got {text!r}")
    return replace(source, urls=tuple(_expand(url, prefixes, place) for url in source.urls))


def _expand(url: str, prefixes: dict[str, str], place: str) -> str:
    scheme, _, rest = url.partition(":")
    if scheme in prefixes:
        return prefixes[scheme] + rest
    if scheme not in ("http", "https", DRIVE.rstrip(":")):
        raise ValueError(f"{place}: {url!r} starts with neither http, https, {DRIVE} nor a prefix of the table")
    return url


def _build(kind: type, fields: dict[str, Any], place: str) -> Any:
    frozen = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    try:
        return kind(**frozen)
    except TypeError as error:
        raise ValueError(f"{place}: {error}") from None
