"""The scores that runs saved (TEST.SAVE_SCORES), as what they say of calibration and rejection."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reporting import calibration
from reporting.load.result import Result
from runs.results import PREDICTIONS
from trainers.shared.temperature import probabilities


@dataclass
class Confidence:
    """By folder of a run that saved its scores: `calibration.summary`, and the rows of its reliability diagram.

    Attributes:
        damaged: a line for each file that cannot be read.
    """

    measures: dict[Path, Mapping[str, float]] = field(default_factory=dict)
    bins: dict[Path, list[dict[str, Any]]] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)


def confidence_of(results: Iterable[Result]) -> Confidence:
    """Read the scores of all runs that have some, and forget them."""
    found = Confidence()
    for path in (result.path / PREDICTIONS for result in results if result.record.get("predictions")):
        try:
            with np.load(path) as kept:
                if "scores" in kept:
                    scores, true = kept["scores"], kept["true"]
                    found.measures[path.parent] = calibration.summary(scores, true)
                    found.bins[path.parent] = calibration.bins(probabilities(scores), true)
        except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
            found.damaged.append(f"{path} cannot be read ({error}): its run is in no table of confidence")
    return found
