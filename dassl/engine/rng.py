"""State of all random generators, in a form that loads without unpickling objects."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def get_rng_state() -> dict[str, Any]:
    """Return the states of Python's, NumPy's and torch's generators (CPU; CUDA and MPS where present).

    Their long lists are tensors, which are saved in a fraction of the time that as many Python numbers take.
    """
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    of_numpy = torch.from_numpy(np.asarray(keys, np.int64))
    state: dict[str, Any] = {
        "python": (version, torch.tensor(numbers), gauss),
        "numpy": (str(name), of_numpy, int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Restore what `get_rng_state` returned; states of devices that this machine lacks are left out.

    Files of earlier versions have lists in the place of tensors.
    """
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(torch.as_tensor(numbers).tolist()), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, torch.as_tensor(keys).numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if len(state.get("cuda", ())) == torch.cuda.device_count() > 0:
        torch.cuda.set_rng_state_all(state["cuda"])
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])
