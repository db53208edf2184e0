"""How far a run's probabilities can be trusted: the temperature that `fit` measured. Nothing here needs torch."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FILE = "calibration.json"
UNDECIDED = "undecided"


def temperature_of(run: str | Path) -> float | None:
    """Return the temperature in a run's calibration.json, None without one. ValueError if the file is damaged."""
    path = Path(run) / FILE
    if not path.exists():
        return None
    try:
        found = float(json.loads(path.read_text(encoding="utf-8"))["temperature"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged, or no calibration: `python mmrl.py fit` writes it anew") from error
    if not 0 < found < math.inf:
        raise ValueError(f"{path}: the temperature is {found:g}, which must be above 0: fit the run again")
    return found


def needed(run: str | Path) -> float:
    """Return the temperature of a run. FileNotFoundError says how to get one; ValueError as in `temperature_of`."""
    found = temperature_of(run)
    if found is None:
        raise FileNotFoundError(
            f"{run} has no {FILE}, so nothing says how far its probabilities can be trusted: --reject needs a run that "
            "`python mmrl.py fit FOLDER` made of images with known classes (OUT/model)"
        )
    return found


def decide(probabilities: Any, classes: Sequence[str], temperature: float, least: float) -> list[tuple[str, float]]:
    """Return the likeliest class and its calibrated probability for each row of a tensor `[N, C]`.

    The class is `UNDECIDED` where that probability is below `least`.
    """
    if UNDECIDED in classes:
        raise ValueError(f"a class is called {UNDECIDED}, which --reject calls what it leaves open: use other classes")
    calibrated = (probabilities.double().log() / temperature).softmax(dim=-1)
    values, places = calibrated.max(dim=-1)
    pairs = zip(values.tolist(), places.tolist(), strict=True)
    return [(classes[place] if value >= least else UNDECIDED, value) for value, place in pairs]
