"""Recompute golden numbers for a setting, through the trainers' own code.

    python tools/golden.py SETTING.json OUT.npz

A setting names CLIP's sizes, the method with its numbers, class names, data set (for the template), labels, steps and
the learned tensors. All weights, learned tensors and images come from one recipe (``fill``), so none need to be stored.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from clip.model import CLIP, build_model  # noqa: E402
from trainers.base import Method  # noqa: E402
from trainers.mmrl import MMRLModel, Settings  # noqa: E402
from trainers.templates import TEMPLATES  # noqa: E402
from trainers.templates import fill as fill_template  # noqa: E402

VOCABULARY, CONTEXT = 49408, 77
GAMMA = 0x9E3779B97F4A7C15


def fill(name: str, shape: tuple[int, ...] | list[int], std: float) -> Tensor:
    """Uniform float32 values of standard deviation ``std``, C order: a splitmix stream seeded by ``crc32(name)``."""
    count = int(np.prod(shape, dtype=np.int64))
    seed = zlib.crc32(name.encode())
    with np.errstate(over="ignore"):
        z = np.uint64(seed) * np.uint64(GAMMA) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GAMMA)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    uniform = (z >> np.uint64(11)).astype(np.float64) / 2.0**53
    return torch.from_numpy(((uniform - 0.5) * np.sqrt(12.0) * std).astype(np.float32).reshape(shape))


def clip_weights(sizes: dict[str, int]) -> dict[str, Tensor]:
    """The recipe's CLIP under OpenAI's names; ``sizes`` has embed, res, patch, vw, vl, tw, tl."""
    vw, tw, embed, patch = sizes["vw"], sizes["tw"], sizes["embed"], sizes["patch"]
    grid = sizes["res"] // patch
    weights: dict[str, Tensor] = {"logit_scale": torch.tensor(4.6052)}

    def put(name: str, shape: tuple[int, ...], std: float) -> None:
        weights[name] = fill(name, shape, std)

    def norm(name: str, width: int) -> None:
        weights[f"{name}.weight"] = 1 + fill(f"{name}.weight", (width,), 0.1)
        weights[f"{name}.bias"] = fill(f"{name}.bias", (width,), 0.1)

    def tower(prefix: str, width: int, layers: int) -> None:
        deep = width**-0.5 * (2 * layers) ** -0.5
        for i in range(layers):
            block = f"{prefix}transformer.resblocks.{i}."
            norm(f"{block}ln_1", width)
            norm(f"{block}ln_2", width)
            put(f"{block}attn.in_proj_weight", (3 * width, width), width**-0.5)
            put(f"{block}attn.in_proj_bias", (3 * width,), 0.02)
            put(f"{block}attn.out_proj.weight", (width, width), deep)
            put(f"{block}attn.out_proj.bias", (width,), 0.02)
            put(f"{block}mlp.c_fc.weight", (4 * width, width), (2 * width) ** -0.5)
            put(f"{block}mlp.c_fc.bias", (4 * width,), 0.02)
            put(f"{block}mlp.c_proj.weight", (width, 4 * width), deep)
            put(f"{block}mlp.c_proj.bias", (width,), 0.02)

    put("visual.class_embedding", (vw,), 0.02)
    put("visual.positional_embedding", (grid * grid + 1, vw), 0.02)
    put("visual.conv1.weight", (vw, 3, patch, patch), 0.02)
    put("visual.proj", (vw, embed), vw**-0.5)
    put("token_embedding.weight", (VOCABULARY, tw), 0.02)
    put("positional_embedding", (CONTEXT, tw), 0.01)
    put("text_projection", (tw, embed), tw**-0.5)
    norm("visual.ln_pre", vw)
    norm("visual.ln_post", vw)
    norm("ln_final", tw)
    tower("visual.", vw, sizes["vl"])
    tower("", tw, sizes["tl"])
    return weights


def fill_learned(model: torch.nn.Module, shapes: dict[str, list[int]], vision_width: int) -> None:
    """Overwrite every learned tensor by the recipe. Raises ValueError when names or shapes are not the setting's."""
    learned = dict(model.named_parameters())
    found = {name: list(value.shape) for name, value in learned.items()}
    if found != shapes:
        odd = sorted(name for name in {*found, *shapes} if found.get(name) != shapes.get(name))
        raise ValueError(f"learned tensors differ from the setting's: {', '.join(odd)}")
    for name, value in learned.items():
        if name.endswith("compound_rep_tokens") or name.endswith(".bias"):
            std = 0.02
        elif name.endswith("proj_rep"):
            std = vision_width**-0.5
        else:
            std = (3 * value.shape[-1]) ** -0.5
        value.data.copy_(fill(name, shapes[name], std))


def build_mmrl(setting: dict[str, Any], clip_model: CLIP) -> Method:
    """MMRL as the setting has it; its fused arrays mix logits, as the authors' code does."""
    settings = Settings(
        alpha=setting["alpha"],
        reg_weight=setting["reg_weight"],
        rep_layers=tuple(setting["rep_layers"]),
        rep_dim=setting["rep_dim"],
        n_rep_tokens=setting["K"],
        fusion="logits",
    )
    prompts = fill_template(TEMPLATES[setting["dataset"]], setting["classes"])
    return MMRLModel(clip_model, prompts, settings)


def recompute_mmrl(setting: dict[str, Any], model: Any) -> dict[str, np.ndarray]:
    """First step, training curve on one batch, and evaluation after it."""
    sizes = setting["clip"]
    images = fill("images", (setting["batch"], 3, sizes["res"], sizes["res"]), 1.0)
    labels = torch.tensor(setting["labels"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=setting["lr"], weight_decay=setting["weight_decay"])
    arrays: dict[str, Any] = {}
    losses = []
    for step in range(setting["steps"]):
        out = model(images)
        loss = model.loss_of(out, labels)
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            arrays |= out._asdict() | {"logits_fusion": model.fuse(out.logits, out.logits_rep)}
            for name, value in model.named_parameters():
                arrays[f"gradnorm/{name}"] = value.grad.norm()
                arrays[f"grad/{name}"] = value.grad.clone()
        optimizer.step()
    with torch.no_grad():
        out = model(images)
    arrays |= {
        "eval_logits": out.logits,
        "eval_logits_rep": out.logits_rep,
        "eval_logits_fusion": model.fuse(out.logits, out.logits_rep),
        "final/compound_rep_tokens": model.representation_learner.compound_rep_tokens,
    }
    found = {name: value.detach().numpy().copy() for name, value in arrays.items()}
    return found | {"losses": np.array(losses)}


METHODS: dict[str, tuple[Callable, Callable]] = {"MMRL": (build_mmrl, recompute_mmrl)}


def recompute(setting: dict[str, Any]) -> dict[str, np.ndarray]:
    """Every golden array of a setting. Raises ValueError for a method that is not known here."""
    if setting.get("method") not in METHODS:
        raise ValueError(f"method is {setting.get('method')!r}: this tool knows {', '.join(METHODS)}")
    build, run = METHODS[setting["method"]]
    clip_model = build_model(clip_weights(setting["clip"]), dtype=torch.float32)
    model = build(setting, clip_model)
    fill_learned(model, setting["trainable"], setting["clip"]["vw"])
    return run(setting, model)


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
