"""The phrases that PLOT++'s contexts start from, by data set, as its release has them.

The length of all contexts is the word count of the first.
"""

from __future__ import annotations

# Of data sets that the release does not have, too.
GENERAL = ("a photo of a", "this is a photo", "this is picture of", "one picture of a")
PHRASES = {
    "ImageNet": ("a photo of a", "this is a photo", "this is a", "one picture of a"),
    "Caltech101": GENERAL,
    "StanfordCars": GENERAL,
    "SUN397": GENERAL,
    "DescribableTextures": (
        "a photo of a texture",
        "this is a photo texture",
        "this is a picture texture",
        "one picture of a texture",
    ),
    "EuroSAT": (
        "a centered satellite photo of",
        "a centered satellite picture of",
        "this is centered satellite photo of",
        "one centered satellite photo of a",
    ),
    "FGVCAircraft": (
        "a photo of an aircraft",
        "a picture of an aircraft",
        "this is aircraft picture of",
        "one picture of an aircraft",
    ),
    "Food101": ("a photo of a food", "this is a food photo", "this is food picture of", "one picture of a food"),
    "OxfordFlowers": (
        "a photo of a flower",
        "one picture of a flower",
        "this is a picture flower",
        "one picture of a flower",
    ),
    "OxfordPets": ("a photo of a pet", "one picture of a pet", "this is a picture pet", "one picture of a pet"),
    "UCF101": (
        "a photo of a person doing",
        "this is a photo people doing",
        "this is picture of people doing",
        "one picture of a person doing",
    ),
}
