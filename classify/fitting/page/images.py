"""The page's images: those that were most wrong, and those that were least certain."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from classify.thumbnails import data_uri
from common.text import unescape

from .html import paragraph
from .load import Fit, Prediction

SHOWN = 24  # of each kind
SIDE = 128  # pixels: shown at about 96, sharp on a phone


def section(fit: Fit) -> Iterator[str]:
    """Yield two grids of images with their true and predicted classes."""
    wrong = most_wrong(fit, SHOWN)
    unsure = [one for one in sorted(fit.predictions, key=lambda one: one.confidence) if one not in wrong][:SHOWN]
    folder = Path(fit.content["folder"])
    yield "<h3>Most wrong</h3>"
    yield paragraph("Wrong, and sure of it; a wrong label is found here, too." if wrong else "No image was wrong.")
    yield from _grid(folder, wrong)
    yield "<h3>Least certain</h3>"
    yield paragraph("Of the others, those with the lowest confidence; more images like these would help most.")
    yield from _grid(folder, unsure)


def most_wrong(fit: Fit, most: int) -> list[Prediction]:
    """Return at most this many of the wrong predictions, the most confident first."""
    return sorted((one for one in fit.predictions if not one.right), key=lambda one: -one.confidence)[:most]


def _grid(folder: Path, shown: list[Prediction]) -> Iterator[str]:
    pictures = {one.path: _thumbnail(folder / unescape(one.path)) for one in shown}
    if missing := sum(picture is None for picture in pictures.values()):
        verb = "image is" if missing == 1 else "images are"
        yield paragraph(f"{missing} {verb} not shown: {folder} has none that can be read there.", "notes")
    yield f'<ul class="images">{"".join(_image(one, pictures[one.path]) for one in shown)}</ul>' if shown else ""


def _image(one: Prediction, picture: str | None) -> str:
    path, true, predicted = (escape(text) for text in (one.path, one.true, one.predicted))
    if picture is None:
        view = f'<span class="gone" title="{path}">no image</span>'
    else:
        view = f'<img src="{picture}" alt="{path}" title="{path}">'
    says = f"<b>{true}</b>" if one.right else f'<b class="no">{predicted}</b><span>is {true}</span>'
    return f"<li>{view}{says}<span>{'right' if one.right else 'wrong'}, {100 * one.confidence:.0f}% sure</span></li>"


def _thumbnail(path: Path) -> str | None:
    """Return a small copy of an image as an address; None if it cannot be read."""
    try:
        return data_uri(path, SIDE)
    except OSError:
        return None
