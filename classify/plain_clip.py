"""A run whose method changes CLIP's own weights, as a file of OpenAI's form that any program loads as a CLIP."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.nn.functional as F

from clip.archives import read_saved
from clip.model import build_model
from clip.shape import OPENAI
from clip.weights import find
from common.files import replacing

from .classifier import Classifier
from .program import TOLERANCE, sample_images

FILE = "clip.pt"


def export(classifier: Classifier, out: str | os.PathLike[str]) -> tuple[Path, float]:
    """Write the classifier's CLIP (fp32, on the CPU) with what was learned added to it, as ``clip.pt`` in ``out``.

    Returns its path, and how far a number of unit image features is from the classifier's with the file loaded again.
    Where CLIP is not computed as OpenAI's are, which such a file does not tell, that is printed. Raises ValueError for
    a method that learns something else, or where features differ by more than 1e-4.
    """
    weights, about = classifier.method.merged_clip(), classifier.about
    if weights is None:
        line = "learns no change of CLIP's own weights, so there is no plain CLIP to write: take another --format"
        raise ValueError(f"{about['method']} {line}")
    computation = find(about["backbone"]).computation
    path, samples = Path(out, FILE), sample_images(classifier)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, torch.no_grad():
        torch.save(weights, partial)
        found = F.normalize(build_model(read_saved(partial), torch.float32, computation).encode_image(samples), dim=-1)
        difference = float((found - classifier.method.image_features(samples)).abs().max())
        if not difference <= TOLERANCE:
            raise ValueError(f"{path} is not kept: its image features differ from the run's by {difference:.2g}")
    if computation != OPENAI:
        print(f"note: this CLIP has {computation}, which {FILE} does not tell: load it as one of its own architecture")
    return path, difference
