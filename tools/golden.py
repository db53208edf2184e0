"""Recompute golden numbers for a setting, with the model that a run of its method builds from its configuration.

    python tools/golden.py SETTING.json OUT.npz

A setting names CLIP's sizes, the method with its numbers, class names, data set (for the template), labels, steps and
the learned tensors. All weights, learned tensors and images come from one recipe, so none need to be stored. What a
method has beside the arrays of all methods is in its file in reference/.
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
from yacs.config import CfgNode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import reference  # noqa: E402
import trainers  # noqa: E402
from clip.model import build_model  # noqa: E402
from reference.shared.numbers import Numbers  # noqa: E402
from reference.shared.recipe import clip_weights  # noqa: E402
from runs.config import default_cfg, get, merge_pairs  # noqa: E402
from trainers.plugins import OFFICIAL, PLUGINS, split_title, title  # noqa: E402
from trainers.plugins.contract import plug  # noqa: E402
from trainers.shared.templates import TEMPLATES  # noqa: E402

# What the authors' code does, or the numbers were made with, where a setting does not say it.
AUTHORS = {"prec": "fp32", "fusion": "logits"}
OTHER_NAMES = {"K": "n_rep_tokens"}  # of a setting, and the key that it is


def method_of(setting: dict[str, Any]) -> str:
    """Return the registered name of a setting's method, with its plug-ins where it has some (``CoOp+DePT``).

    Official names may have underscores, or be aliases. Raises ValueError for a method that is not registered.
    """
    name = str(setting.get("method"))
    for known in (OFFICIAL.get(name, name), trainers.ALIASES.get(name), name.replace("_", "")):
        if known and split_title(known)[0] in trainers.METHODS:
            return known
    raise ValueError(f"method is {name!r}: this tool knows {', '.join(trainers.METHODS)}")


def configuration(setting: dict[str, Any]) -> CfgNode:
    """Resolve a setting's configuration: the defaults, then what the setting says under the keys' names in lower case.

    A key's comment in brackets, such as "(literal)", does not count; what is no key, such as "meta_hidden", is left.
    Raises ValueError for an unknown method, and naming a key whose value is of the wrong type.
    """
    cfg, (method, plugins) = default_cfg(), split_title(method_of(setting))
    stated = AUTHORS | {
        key.partition(" (")[0]: value for key, value in {**setting, **setting.get("config", {})}.items()
    }
    stated |= {key: stated[name] for name, key in OTHER_NAMES.items() if name in stated}
    cfg.TRAINER.NAME, cfg.TRAINER.PLUGINS, cfg.DATASET.NAME = method, plugins, stated.get("dataset") or ""
    cfg.DATASET.NUM_SHOTS = stated.get("shots", cfg.DATASET.NUM_SHOTS)
    cfg.DATASET.TEMPLATE = _own_template(stated, method)
    own = [trainers.METHODS[method].node, *(PLUGINS[name].node for name in plugins)]
    nodes = {f"TRAINER.{node}": "" for node in own if node} | {"LOSS": "loss_"}
    for node, prefix in nodes.items():
        known = get(cfg, node)
        names = {f"{node}.{key}": f"{prefix}{key.lower()}" for key in known}
        merge_pairs(cfg, [(key, stated[name]) for key, name in names.items() if name in stated], "setting")
    cfg.freeze()
    return cfg


def _own_template(stated: dict[str, Any], method: str) -> str:
    """The one template that a setting states, where the method has another for the data set; else nothing."""
    templates = stated.get("templates")
    one = templates[0] if isinstance(templates, list) and len(templates) == 1 else stated.get("template", "")
    tables = TEMPLATES | getattr(import_module(trainers.METHODS[method].module), "TEMPLATES", {})
    return "" if one == tables.get(stated.get("dataset")) else one


def build(setting: dict[str, Any], cfg: CfgNode) -> Any:
    """Build the method as its trainer does, with its plug-ins, on the recipe's CLIP.

    Raises ValueError for a setting that it refuses.
    """
    kind = trainers.load(cfg.TRAINER.NAME)
    kind.check_cfg(object.__new__(kind), cfg)  # a run's own checks, without the data that a trainer begins with
    clip_model = build_model(clip_weights(setting["clip"]), dtype=torch.float32)
    names = list(setting["classes"])
    return plug(kind.build_method(cfg, clip_model, names), cfg, names)


def numbers_of(setting: dict[str, Any]) -> Numbers:
    """Build the setting's model as a run does, filled by the recipe. Raises as ``Numbers`` does."""
    cfg = configuration(setting)
    return reference.of(title(cfg)).numbers(setting, cfg, lambda: build(setting, cfg))


def recompute(setting: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return every golden array of a setting. Raises as ``Numbers`` does."""
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
