"""Recompute golden numbers for a setting, through the trainers' own code.

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
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from clip.model import build_model  # noqa: E402
from tools.goldens.recipe import clip_weights  # noqa: E402

# Names in the settings, and the module of tools/goldens with the method's ``build`` (setting and CLIP to a model filled
# by the recipe) and ``recompute`` (setting and model to the golden arrays).
METHODS = {
    "CoOp": "coop",
    "CoCoOp": "cocoop",
    "KgCoOp": "kgcoop",
    "ProGrad": "prograd",
    "MMRL": "mmrl",
    "MMRLpp": "mmrlpp",
    "MultiModalAdapter": "mma",
    "TCP": "tcp",
    "RPO": "rpo",
    "MaPLe": "maple",
    "PromptSRC": "promptsrc",
    "ProVP": "provp",
    "Meta_B2N": "metaprompt",
    "CLIP_Adapter": "clipadapter",
    "PLOT": "plot",
    "Tip_Adapter": "tipadapter",
    "Tip_Adapter_F": "tipadapter",
}


def model_of(setting: dict[str, Any]) -> Any:
    """The setting's model, filled by the recipe. Raises ValueError for a method that is not known here."""
    return _module(setting).build(setting, build_model(clip_weights(setting["clip"]), dtype=torch.float32))


def recompute(setting: dict[str, Any]) -> dict[str, np.ndarray]:
    """Every golden array of a setting. Raises ValueError for a method that is not known here."""
    return _module(setting).recompute(setting, model_of(setting))


def _module(setting: dict[str, Any]) -> Any:
    if setting.get("method") not in METHODS:
        raise ValueError(f"method is {setting.get('method')!r}: this tool knows {', '.join(METHODS)}")
    return import_module(f"tools.goldens.{METHODS[setting['method']]}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Recompute golden numbers for a setting.")
    parser.add_argument("setting", type=Path, help="JSON file with the setting")
    parser.add_argument("out", type=Path, help="NPZ file to write")
    args = parser.parse_args()
    try:
        setting = json.loads(args.setting.read_text())
        arrays = recompute(setting)
    except (OSError, ValueError, KeyError) as problem:
        print(f"error: {args.setting}: {problem!s}", file=sys.stderr)
        return 1
    np.savez_compressed(args.out, **arrays)  # type: ignore[arg-type]
    print(f"{args.out}: {len(arrays)} arrays")
    return 0


if __name__ == "__main__":
    sys.exit(main())
