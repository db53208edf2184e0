"""Recompute golden numbers for a setting, with the model that a run of its method builds from its configuration.

    python tools/golden.py SETTING.json OUT.npz

A setting names CLIP's sizes, the method with its numbers, class names, data set (for the template), labels, steps and
the learned tensors. All weights, learned tensors and images come from one recipe, so none need to be stored.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.goldens.build import method_of  # noqa: E402
from tools.goldens.numbers import Numbers  # noqa: E402

# Methods with arrays of their own, and the module of tools/goldens where a class of the method's name has them. All
# others have those that every method has.
OWN = {
    "CoOp": "coop",
    "CoCoOp": "coop",
    "KgCoOp": "coop",
    "ProGrad": "coop",
    "TCP": "coop",
    "MMRL": "deep",
    "MMRLpp": "deep",
    "MultiModalAdapter": "deep",
    "RPO": "deep",
    "MaPLe": "deep",
    "PromptSRC": "deep",
    "ProVP": "deep",
    "PLOT": "deep",
    "Meta_B2N": "metaprompt",
    "CLIPAdapter": "clipadapter",
    "TipAdapter": "tipadapter",
    "TipAdapterF": "tipadapter",
}


def numbers_of(setting: dict[str, Any]) -> Numbers:
    """The setting's model, built as a run builds it and filled by the recipe. Raises as ``Numbers`` does."""
    method = method_of(setting)
    own = OWN.get(method)
    return (getattr(import_module(f"tools.goldens.{own}"), method) if own else Numbers)(setting)


def model_of(setting: dict[str, Any]) -> Any:
    """The setting's model alone."""
    return numbers_of(setting).model


def recompute(setting: dict[str, Any]) -> dict[str, np.ndarray]:
    """Every golden array of a setting. Raises as ``Numbers`` does."""
    return numbers_of(setting).recompute()


def main() -> int:
    parser = argparse.ArgumentParser(description="Recompute golden numbers for a setting.")
    parser.add_argument("setting", type=Path, help="JSON file with the setting")
    parser.add_argument("out", type=Path, help="NPZ file to write")
    args = parser.parse_args()
    try:
        setting = json.loads(args.setting.read_text())
        arrays = recompute(setting)
    except (OSError, ValueError, KeyError) as problem:
        text = f"there is no {problem} in it" if isinstance(problem, KeyError) else str(problem)
        print(f"error: {args.setting}: {' '.join(text.split())}", file=sys.stderr)
        return 1
    np.savez_compressed(args.out, **arrays)  # type: ignore[arg-type]
    print(f"{args.out}: {len(arrays)} arrays")
    return 0


if __name__ == "__main__":
    sys.exit(main())
