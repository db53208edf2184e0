"""Glyph images for ``tools/pretrain_embedded.py``: drawn once from matplotlib's fonts, restyled afresh in every batch.

Needs matplotlib and Pillow. Shapes: G glyphs drawn, C classes, B images of a batch.
"""

from __future__ import annotations

import math
import os
import string
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import get_data_path
from matplotlib.ft2font import FT2Font
from PIL import ImageFont
from torch import Tensor

from clip.shape import OPENAI_IMAGES
from datasets.drawn.drawing import centred

SIDE = 32  # of a finished image
DRAWN = 48  # of a glyph in the pool

# Symbol fonts without plain characters, and one whose glyphs are boxes with code points.
_UNUSED_FONTS = ("LastResort", "Display", "STIXNonUni", "STIXSiz", "cmsy", "cmex")
_ALPHABET = string.ascii_uppercase + string.ascii_lowercase
_MATH_ALPHABETS = range(0x1D400, 0x1D6A4, 52)  # Unicode's bold, script, fraktur, ... copies of A-Z a-z
_MATH_DIGITS = range(0x1D7CE, 0x1D800, 10)

_DIGITS = "zero one two three four five six seven eight nine".split()
_GREEK = (
    "alpha:α beta:β gamma:γΓ delta:δΔ epsilon:ε zeta:ζ eta:η theta:θΘ iota:ι kappa:κ lambda:λΛ mu:μ nu:ν xi:ξΞ "
    "pi:πΠ rho:ρ sigma:σΣ tau:τ upsilon:υ phi:φΦ chi:χ psi:ψΨ omega:ωΩ"
)
_SHAPES = (
    "circle:●○◯⬤ square:■□ triangle:▲△▼▽ diamond:◆◇ star:★☆ heart:♥♡ pentagon:⬟⬠ hexagon:⬡⬢ crescent:☽☾ cross:✚✖✝ "
    "spade:♠♤ club:♣♧ up_arrow:↑⬆ down_arrow:↓⬇ left_arrow:←⬅ right_arrow:→➡"
)
_SYMBOLS = (
    "plus_sign:+ minus_sign:− equals_sign:= multiplication_sign:× question_mark:? exclamation_mark:! ampersand:& "
    "at_sign:@ percent_sign:% dollar_sign:$ euro_sign:€ pound_sign:£ hash_sign:# asterisk:* paragraph_sign:¶ "
    "copyright_sign:© infinity:∞ integral:∫ square_root:√ check_mark:✓✔"
)
_ICONS = (
    "music_note:♪♫ sun:☀☼ umbrella:☂ cloud:☁ snowman:☃ telephone:☎ anchor:⚓ airplane:✈ scissors:✂ envelope:✉ "
    "pencil:✎ skull:☠ smiling_face:☺ sad_face:☹ flower:✿❀ snowflake:❄ peace_sign:☮ yin_yang:☯ radioactive_sign:☢ "
    "lightning_bolt:⚡ gear:⚙ scales:⚖ house:⌂ cup_of_coffee:☕ flag:⚑⚐ wheelchair:♿ recycling_sign:♻ pointing_hand:☞"
)
_CHESS = "king:♔♚ queen:♕♛ rook:♖♜ bishop:♗♝ knight:♘♞ pawn:♙♟"


def _table(text: str) -> dict[str, str]:
    pairs = (entry.split(":") for entry in text.split())
    return {name.replace("_", " "): glyphs for name, glyphs in pairs}


# group -> class name -> its characters
GLYPHS: dict[str, dict[str, str]] = {
    "digit": dict(zip(_DIGITS, string.digits, strict=True)),
    "lower": {c: c for c in string.ascii_lowercase},
    "upper": {c: c.upper() for c in string.ascii_lowercase},
    "greek": _table(_GREEK),
    "shape": _table(_SHAPES),
    "symbol": _table(_SYMBOLS),
    "icon": _table(_ICONS),
    "chess": _table(_CHESS),
}
# The share of each group in a batch; classes of a group, and glyphs of a class, are equally likely.
SHARE = {
    "digit": 0.1, "lower": 0.23, "upper": 0.23, "greek": 0.14, "shape": 0.1, "symbol": 0.07, "icon": 0.1, "chess": 0.03
}  # fmt: skip
CLASSES = [(group, name) for group, names in GLYPHS.items() for name in names]


@dataclass
class Pool:
    """Glyphs ``images [G, 1, 48, 48]`` (uint8), their classes ``labels [G]`` and their chances ``weights [G]``."""

    images: Tensor
    labels: Tensor
    weights: Tensor

    def sample(self, size: int, strength: float = 1.0) -> tuple[Tensor, Tensor]:
        """Freshly styled images ``[B, 3, 32, 32]``, normalised as CLIP's, and classes ``[B]``."""
        index = torch.multinomial(self.weights, size, replacement=True)
        return style(self.images[index].float() / 255, strength), self.labels[index]


def build_pool() -> Pool:
    """Draw every character of ``GLYPHS``, and its mathematical variants, in every font that has it."""
    images, labels, weights = [], [], []
    fonts = [(path, set(FT2Font(path).get_charmap())) for path in _font_files()]
    for label, (group, name) in enumerate(CLASSES):
        drawn = [
            draw(path, char)
            for path, known in fonts
            for char in _variants(GLYPHS[group][name])
            if ord(char) in known and not (os.path.basename(path).startswith("cm") and not char.isalnum())
        ]
        images += drawn
        labels += [label] * len(drawn)
        weights += [SHARE[group] / len(GLYPHS[group]) / len(drawn)] * len(drawn)
    return Pool(torch.from_numpy(np.stack(images))[:, None], torch.tensor(labels), torch.tensor(weights))


def _font_files() -> list[str]:
    folder = os.path.join(get_data_path(), "fonts", "ttf")
    names = (n for n in sorted(os.listdir(folder)) if not any(unused in n for unused in _UNUSED_FONTS))
    return [os.path.join(folder, n) for n in names if n.endswith(".ttf")]


def _variants(chars: str) -> str:
    more = ""
    for char in chars:
        if char in _ALPHABET:
            more += "".join(chr(start + _ALPHABET.index(char)) for start in _MATH_ALPHABETS)
        elif char in string.digits:
            more += "".join(chr(start + int(char)) for start in _MATH_DIGITS)
    return chars + more


def draw(font_file: str, char: str, height: int = 36) -> np.ndarray:
    """A character, white on black, centred, its longer side ``height`` pixels: ``[48, 48]`` uint8."""
    return np.array(centred(ImageFont.truetype(font_file, 96), char, height, DRAWN))


def style(glyphs: Tensor, strength: float = 1.0) -> Tensor:
    """A new look for each glyph: ``[B, 1, 48, 48]`` in 0..1 to ``[B, 3, 32, 32]``, normalised as CLIP's.

    ``strength`` in 0..1 scales how far looks are from the plain glyph.
    """
    ink = _thicken(_bend(glyphs, strength), strength)
    ink = _blur(ink, 0.35 * strength)
    ink = ink.clamp(0, 1) ** _uniform(ink, 0.6, 1.6)
    return _normalise(_colour(ink, strength))


def _uniform(like: Tensor, low: float, high: float, *shape: int) -> Tensor:
    return torch.empty(len(like), *(shape or (1, 1, 1))).uniform_(low, high)


def _chosen(like: Tensor, chance: float) -> Tensor:
    return torch.rand(len(like), 1, 1, 1) < chance


def _bend(ink: Tensor, strength: float) -> Tensor:
    """Rotate, shear, scale, shift and jitter elastically; ``[B, 1, 48, 48] -> [B, 1, 32, 32]``."""
    angle = torch.randn(len(ink)) * math.radians(11) * strength
    shear = torch.randn(len(ink)) * 0.18 * strength
    zoom = _uniform(ink, 1 - 0.35 * strength, 1 + 0.15 * strength, 1) * torch.exp(
        torch.randn(len(ink), 2) * 0.12 * strength
    )
    shift = torch.randn(len(ink), 2, 1) * 0.07 * strength
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, sin + shear], 1), torch.stack([-sin, cos], 1)], 1)
    # The frame shows 0.8 of the canvas, of which the glyph fills three quarters.
    matrix = torch.cat([turn * (0.8 / zoom)[:, None], shift], 2)
    grid = F.affine_grid(matrix, [len(ink), 1, SIDE, SIDE], align_corners=False)
    jitter = torch.randn(len(ink), 2, 4, 4) * _uniform(ink, 0, 0.05 * strength)
    jitter = F.interpolate(jitter, (SIDE, SIDE), mode="bicubic", align_corners=True)
    return F.grid_sample(ink, grid + jitter.permute(0, 2, 3, 1), align_corners=False)


def _thicken(ink: Tensor, strength: float) -> Tensor:
    """Strokes up to two pixels wider, or thinner by one, in part."""
    amount = _uniform(ink, -0.4, 1.0) * strength
    wide, thin = F.max_pool2d(ink, 3, 1, 1), -F.max_pool2d(-ink, 3, 1, 1)
    return ink.lerp(torch.where(amount < 0, thin, wide), amount.abs())


def _blur(ink: Tensor, chance: float) -> Tensor:
    taps = torch.tensor([1.0, 2.0, 1.0]) / 4
    soft = F.conv2d(ink, (taps[:, None] * taps)[None, None], padding=1)
    return torch.where(_chosen(ink, chance), soft, ink)


def _colour(ink: Tensor, strength: float) -> Tensor:
    """Ink over paper: white on black, the reverse, greys or colours; uneven paper and noise. ``[B, 3, 32, 32]``."""
    paper, pen = _uniform(ink, 0, 0.35, 3, 1, 1), _uniform(ink, 0.65, 1, 3, 1, 1)
    grey = _chosen(ink, 0.75)
    paper, pen = (torch.where(grey, c[:, :1].expand_as(c), c) for c in (paper, pen))
    plain = _chosen(ink, 0.4)
    paper, pen = torch.where(plain, 0.0, paper), torch.where(plain, 1.0, pen)
    swap = _chosen(ink, 0.4 * strength)
    paper, pen = torch.where(swap, pen, paper), torch.where(swap, paper, pen)
    shade = F.interpolate(torch.randn(len(ink), 1, 3, 3), (SIDE, SIDE), mode="bicubic", align_corners=True)
    image = paper + (pen - paper) * ink
    image = image + shade * _uniform(ink, 0, 0.12) * _chosen(ink, 0.3 * strength)
    return (image + torch.randn_like(ink) * _uniform(ink, 0, 0.1) * _chosen(ink, 0.5 * strength)).clamp(0, 1)


def _normalise(image: Tensor) -> Tensor:
    mean, std = torch.tensor(OPENAI_IMAGES.mean), torch.tensor(OPENAI_IMAGES.std)
    return (image - mean.view(3, 1, 1)) / std.view(3, 1, 1)
