"""Small pictures of characters, drawn from the fonts that matplotlib bundles (DejaVu, STIX, Computer Modern).

A `Look` says how far pictures may be from the plain character; a picture's own look is drawn from a generator, so the
same seed gives the same picture. Other versions of Pillow, or of the FreeType in it, may draw other grey values.

Sizes are in pixels of the picture, which is ``SIDE`` x ``SIDE``, unless said otherwise.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 32
CANVAS = 128  # side of the canvas that the plain character is drawn on
GLYPH = 84  # its longer side there
OVERSAMPLED = 3  # a bent character has this many pixels per pixel of the picture
CELLS = 4  # the paper bends in a mesh of so many cells per side

Range = tuple[float, float]
Char = tuple[str, str]
"""A font's file name without .ttf, and a character that it has."""


@dataclass(frozen=True)
class Look:
    """How pictures may look. A `Range` is that of a uniform draw.

    Attributes:
        turn: degrees, the standard deviation of the rotation.
        slant: of every character, 1 for 45 degrees to the right.
        shear: standard deviation of the slant.
        flat: height of every character, as a share of what it should be.
        size: longer side of the character, as a share of the picture's.
        shift: standard deviation of the displacement, as a share of the picture's side.
        wobble: standard deviation of the bending, as a share of the picture's side.
        stroke: what is added to a stroke on either side, in pixels of the canvas; negative: taken away.
        outline: only the edge of the character is drawn.
        contrast: the pen's grey minus the paper's, both 0 to 1, whichever is the lighter.
        colour: share of the pictures that have a coloured pen and paper.
        coarse: picture sides that the picture is scaled down to before it is scaled up again.
        blur: radius of a Gaussian.
        shade: standard deviation of the paper's slow changes of grey.
        noise: standard deviation of the grain.
        strokes: the most lines that cross the picture.
    """

    turn: float = 8
    slant: float = 0
    shear: float = 0.1
    flat: float = 1
    size: Range = (0.55, 0.85)
    shift: float = 0.04
    wobble: float = 0.02
    stroke: Range = (-1, 3)
    outline: bool = False
    contrast: Range = (0.5, 1)
    colour: float = 0.3
    coarse: tuple[int, ...] = (SIDE,)
    blur: Range = (0, 0.6)
    shade: float = 0.04
    noise: Range = (0, 0.06)
    strokes: int = 0


def draw(char: Char, look: Look, rng: np.random.RandomState) -> Image.Image:
    """Draw an RGB picture of a character, 32 x 32."""
    ink = _bend(_thickened(char, round(rng.uniform(*look.stroke)), look.outline), look, rng)
    for _ in range(rng.randint(look.strokes + 1)):
        _cross(ink, rng)
    side = look.coarse[rng.randint(len(look.coarse))]
    ink = ink.resize((side, side), Image.Resampling.BOX).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    ink = ink.filter(ImageFilter.GaussianBlur(rng.uniform(*look.blur)))
    return Image.fromarray(_colour(np.asarray(ink, dtype=np.float64)[..., None] / 255, look, rng))


@cache
def _plain(font: str, char: str) -> Image.Image:
    """White on black, in the middle of the canvas. Raises FileNotFoundError: matplotlib has no such font."""
    from matplotlib import get_data_path

    path = os.path.join(get_data_path(), "fonts", "ttf", f"{font}.ttf")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path} not found: this matplotlib has other fonts, install 3.8 or newer")
    return centred(ImageFont.truetype(path, CANVAS), char, GLYPH, CANVAS)


def centred(font: ImageFont.FreeTypeFont, char: str, longer: int, canvas: int) -> Image.Image:
    """Draw a character white on black in the middle of a square, its longer side scaled to ``longer`` pixels."""
    left, top, right, bottom = font.getbbox(char)
    large = Image.new("L", (math.ceil(right - left), math.ceil(bottom - top)))
    ImageDraw.Draw(large).text((-left, -top), char, fill=255, font=font)
    scale = longer / max(large.size)
    width, height = (max(1, round(side * scale)) for side in large.size)
    square = Image.new("L", (canvas, canvas))
    square.paste(large.resize((width, height), Image.Resampling.BOX), ((canvas - width) // 2, (canvas - height) // 2))
    return square


@cache
def _thickened(char: Char, amount: int, outline: bool) -> Image.Image:
    """The plain character with thicker or thinner strokes, or the edges of those only."""
    glyph = _plain(*char)
    if outline:
        wide = np.asarray(glyph.filter(ImageFilter.MaxFilter(2 * max(1, amount) + 1)), dtype=np.int16)
        return Image.fromarray((wide - np.asarray(glyph.filter(ImageFilter.MinFilter(3)))).astype(np.uint8))
    if amount == 0:
        return glyph
    kind = ImageFilter.MaxFilter if amount > 0 else ImageFilter.MinFilter
    return glyph.filter(kind(2 * abs(amount) + 1))


def _bend(glyph: Image.Image, look: Look, rng: np.random.RandomState) -> Image.Image:
    """Turned, slanted, scaled, shifted and bent, oversampled: each point of a mesh looks up its place on the canvas."""
    side = SIDE * OVERSAMPLED
    turn, slant = math.radians(look.turn) * rng.standard_normal(), look.slant + look.shear * rng.standard_normal()
    zoom = GLYPH / side / rng.uniform(*look.size)
    cos, sin = math.cos(turn), math.sin(turn)
    matrix = zoom * np.array([[1, slant], [0, 1 / look.flat]]) @ np.array([[cos, sin], [-sin, cos]])
    steps = np.linspace(0, side, CELLS + 1)
    points = np.stack(np.meshgrid(steps, steps), -1) - side / 2 + side * look.shift * rng.standard_normal(2)
    points = points + side * look.wobble * rng.standard_normal(points.shape)
    places = points @ matrix.T + CANVAS / 2
    mesh = []
    for row, column in np.ndindex(CELLS, CELLS):
        box = (steps[column], steps[row], steps[column + 1], steps[row + 1])
        corners = [places[row, column], places[row + 1, column], places[row + 1, column + 1], places[row, column + 1]]
        mesh.append((tuple(map(int, box)), tuple(np.concatenate(corners).tolist())))
    return glyph.transform((side, side), Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


def _cross(ink: Image.Image, rng: np.random.RandomState) -> None:
    """A line across the picture, in the pen's or in the paper's colour."""
    ends = rng.uniform(0, ink.width, 4).tolist()
    ImageDraw.Draw(ink).line(ends, fill=int(rng.randint(2)) * 255, width=int(rng.randint(2, 6)))


def _colour(ink: np.ndarray, look: Look, rng: np.random.RandomState) -> np.ndarray:
    """Pen on paper: ``ink [S, S, 1]`` in 0..1 to ``[S, S, 3]``, uint8."""
    contrast = rng.uniform(*look.contrast)
    paper = rng.uniform(0, 1 - contrast)
    pen = paper + contrast
    if rng.randint(2):
        paper, pen = pen, paper
    tint = rng.uniform(-0.25, 0.25, (2, 3)) if rng.uniform() < look.colour else np.zeros((2, 3))
    picture = (paper + tint[0]) * (1 - ink) + (pen + tint[1]) * ink
    slow = Image.fromarray(rng.standard_normal((3, 3)).astype(np.float32), mode="F")
    picture = picture + look.shade * np.asarray(slow.resize((SIDE, SIDE), Image.Resampling.BICUBIC))[..., None]
    picture = picture + rng.uniform(*look.noise) * rng.standard_normal((SIDE, SIDE, 1))
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)
