"""CLIP-LoRA: Low-Rank Few-Shot Adaptation of Vision-Language Models (Zanella and Ben Ayed, CVPR Workshops 2024).

The query, key and value projections of both towers get terms of low rank beside their frozen weights,

    W' = W + s B A,  s = alpha / sqrt(r),

with A ``[r, E]`` uniform in +-E^-1/2 and B ``[E, r]`` zero at the start, E the tower's width. In training the term is
s B A drop(x): each projection drops elements of its input by a mask of its own, in both towers, and W x stays whole.
Cross-entropy of 100 times the cosine, no other term; one prompt for all data sets. What was learned can be added to
CLIP's weights (``merged_clip``), and is then a plain CLIP.

Facts of the authors' release: s has the root, unlike LoRA's paper; 100 is a literal; AdamW, a cosine per step from the
learning rate to 1e-6, ``N_ITERS`` steps per shot whatever the number of classes, the last epoch cut; the last step is
what is tested. There a dropout of 0 gives gradients that are not those of the loss; here they are. Positions are given
for 12 layers there (bottom: the first four); here they are shares of the depth. Classes share nothing while they drop,
as each has masks of its own; without dropout, and in evaluation, the beginning of their prompts is computed once.

The few-shot images are the run's own draw, CoOp's; the release draws validation images first, and so others.

Shapes: B images, C classes, N tokens, E tower width, d joint width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip.archives import UNREADABLE, read_saved
from clip.class_prompts import ClassPrompts
from clip.draws import Draw, default_bound, linear
from clip.layers import Attention, no_autocast
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .settings import PHRASE, CLIPLoRASettings
from .shared import checkpoints
from .shared.context import text_outputs
from .shared.cosine import l2_normalize
from .shared.deep_prompts import check_vit, module_at
from .shared.method import DualEncoder
from .shared.official_stream import a_clip, uniform
from .shared.steps import PerShotTrainer
from .shared.templates import fill, prompt_tokens

SCALE = 100.0
QKV = ("q_proj", "k_proj", "v_proj")
PROJECTIONS = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "proj"}
TOWERS = {"text": "transformer.resblocks", "vision": "visual.transformer.resblocks"}  # in the release's order
OFFICIAL_FILE = "lora_weights.pt"
METADATA = ("R", "ALPHA", "ENCODER", "PARAMS", "POSITION")  # of that file


def layers_at(position: str, depth: int) -> range:
    """Return the layers, from 0, that a position names in a tower of this depth."""
    third, half = depth // 3, depth // 2
    return {
        "all": range(depth),
        "bottom": range(third),
        "mid": range(third, 2 * third),
        "up": range(2 * third, depth),
        "half-up": range(half, depth),
        "half-bottom": range(half),
        "top3": range(max(0, depth - 3), depth),
    }[position]


class LowRank(nn.Module):
    """A ``[r, E]`` and B ``[E, r]`` under the release's names."""

    def __init__(self, width: int, rank: int):
        super().__init__()
        self.w_lora_A = nn.Parameter(torch.empty(rank, width))
        self.w_lora_B = nn.Parameter(torch.zeros(width, rank))
        nn.init.kaiming_uniform_(self.w_lora_A, a=5**0.5)

    def forward(self, x: Tensor, y: Tensor, scale: float) -> Tensor:
        """Return y + s B A x ``[..., E]`` for ``x`` and ``y`` ``[..., E]`` of one dtype."""
        inner = F.linear(x, self.w_lora_A.to(x.dtype)).flatten(0, -2)
        found = torch.addmm(y.flatten(0, -2), inner, self.w_lora_B.to(x.dtype).t(), alpha=scale)
        return found.unflatten(0, y.shape[:-1])


class LoRAAttention(nn.Module):
    """Frozen attention and, as submodules, what its projections learn; it stands where ``frozen`` stood in a block."""

    frozen: Any

    def __init__(self, frozen: Attention, settings: CLIPLoRASettings):
        super().__init__()
        self.__dict__["frozen"] = frozen  # not what is saved
        self.width, self.heads = frozen.width, frozen.heads
        self.scale, self.rate = settings.alpha / math.sqrt(settings.r), settings.dropout_rate
        learn = [name for param, name in PROJECTIONS.items() if param in settings.params]
        self.terms = {name: LowRank(self.width, settings.r) for name in learn}
        for name, term in self.terms.items():
            self.add_module(name, term)

    def queries(self, x: Tensor) -> Tensor:
        """Return queries ``[..., E]`` of normalised tokens ``[..., E]``."""
        return self.plus_term("q_proj", self.frozen.queries(x), x)

    def keys_values(self, x: Tensor) -> Tensor:
        """Return keys and values ``[..., 2E]``, keys first, of normalised tokens ``[..., E]``."""
        k, v = self.frozen.keys_values(x).split(self.width, dim=-1)
        return torch.cat([self.plus_term("k_proj", k, x), self.plus_term("v_proj", v, x)], dim=-1)

    def mix(self, q: Tensor, kv: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend as ``Attention.mix`` does."""
        return self.frozen.mix(q, kv, mask)

    def mix_all(self, x: Tensor, count: int, mask: Tensor | None = None) -> Tensor:
        """Attend with the first ``count`` of normalised tokens ``[B, M, E]`` to all of them."""
        parts = F.linear(x, self.frozen.in_proj_weight, self.frozen.in_proj_bias).unflatten(-1, (3, -1))
        if self.terms.keys() >= {*QKV}:
            parts = self._plus_all(parts.flatten(0, -3).transpose(0, 1), x.to(parts.dtype)).unflatten(1, x.shape[:-1])
            q, k, v = parts.unbind()
        else:
            q, k, v = (self.plus_term(name, part, x) for name, part in zip(QKV, parts.unbind(-2), strict=True))
        return self.frozen.mix_parts(q if count == q.shape[1] else q[:, :count], k, v, mask)

    def _plus_all(self, y: Tensor, x: Tensor) -> Tensor:
        """Return y + s B A drop(x) of all three projections at once: ``y`` ``[3, B M, E]``, ``x`` ``[B, M, E]``."""
        learned = [self.terms[name] for name in QKV]
        down = torch.stack([one.w_lora_A for one in learned]).to(x.dtype)  # [3, r, E]
        up = torch.stack([one.w_lora_B for one in learned]).to(x.dtype)  # [3, E, r]
        if self.training and self.rate > 0:
            seen = torch.stack([self.drop(name, x) for name in QKV])
        else:
            seen = x.expand(3, *x.shape)
        return torch.baddbmm(y, seen.flatten(1, -2) @ down.transpose(1, 2), up.transpose(1, 2), alpha=self.scale)

    def mix_few(self, q: Tensor, seen: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend with few queries ``[B, R, E]`` to tokens ``[B, M, E]``, by way of keys and values."""
        return self.mix(q, self.keys_values(seen), mask)

    def out_proj(self, mixed: Tensor) -> Tensor:
        """Apply the output projection, ``[..., E] -> [..., E]``."""
        return self.plus_term("proj", self.frozen.out_proj(mixed), mixed)

    def plus_term(self, name: str, y: Tensor, x: Tensor) -> Tensor:
        """Return y + s B A drop(x), or y where the projection of this name learns nothing."""
        if name not in self.terms:
            return y
        return self.terms[name](self.drop(name, x.to(self.frozen.in_proj_weight.dtype)), y, self.scale)

    def drop(self, name: str, x: Tensor) -> Tensor:
        """Drop elements of a projection's input, in training."""
        return F.dropout(x, self.rate, self.training)

    @torch.no_grad()
    def add_to(self, weights: Mapping[str, Tensor], prefix: str) -> None:
        """Add s B A to the state dict of a CLIP in which the frozen attention's names begin with ``prefix``."""
        into = dict(zip(("q_proj", "k_proj", "v_proj"), weights[f"{prefix}in_proj_weight"].chunk(3), strict=True))
        into["proj"] = weights[f"{prefix}out_proj.weight"]
        for name, term in self.terms.items():
            into[name] += self.scale * (term.w_lora_B @ term.w_lora_A).to(into[name])


class CLIPLoRAModel(DualEncoder):
    """What the towers' projections learn, under the release's names in CLIP.

    Args:
        clip_model: frozen CLIP with a ViT image tower.
        prompts: one text per class.
        settings: which projections learn, and how.

    Raises ValueError where there is no layer at the settings' position.
    """

    def __init__(self, clip_model: CLIP, prompts: Sequence[str], settings: CLIPLoRASettings):
        super().__init__(clip_model)
        check_vit(clip_model, "CLIP_LoRA")
        self.settings = settings
        self.adapted: dict[str, LoRAAttention] = {}
        self.changes_image_feature = settings.encoder != "text"
        self.blocks = {tower: self._blocks(tower) for tower in reversed(TOWERS)}
        if not self.adapted:
            key = settings.key("POSITION")
            raise ValueError(f"{key} {settings.position} has no layer in these towers: set it to all")
        self.tokens = prompt_tokens(prompts).to(clip_model.positional_embedding.device)
        self.layout, self.apart = ClassPrompts(self.tokens), ClassPrompts(self.tokens, prefix=0)
        self.frozen_text = text_outputs(clip_model, prompts) if settings.encoder == "vision" else None

    def _blocks(self, tower: str) -> list[Any]:
        """Return a tower's blocks, those at the position with an attention that learns, which is registered here."""
        blocks: list[Any] = list(self.clip_model.get_submodule(TOWERS[tower]).children())
        if self.settings.encoder not in (tower, "both"):
            return blocks
        for i in layers_at(self.settings.position, len(blocks)):
            path = f"{TOWERS[tower]}.{i}"
            self.adapted[f"{path}.attn"] = attn = LoRAAttention(blocks[i].attn, self.settings)
            module_at(self, path).add_module("attn", attn)
            blocks[i] = blocks[i].with_modules(attn=attn)
        return blocks

    def raw_class_features(self) -> Tensor:
        if self.frozen_text is not None:
            return self.frozen_text
        layout = self.apart if self.training and self.settings.dropout_rate > 0 else self.layout
        out = layout.run(self.blocks["text"], layout.embed(self.clip_model), last=True)
        return self.clip_model.text_to_joint_space(out[0])

    def raw_image_features(self, images: Tensor) -> Tensor:
        return self.clip_model.visual(images, self.blocks["vision"])

    def scores_of(self, v: Tensor, w: Tensor) -> Tensor:
        """Return 100 times the cosines, ``[B, C]``."""
        with no_autocast(v):
            return SCALE * l2_normalize(v) @ w.t()

    def merged_clip(self) -> dict[str, Tensor]:
        """Return the state dict of a plain CLIP that gives these features, float32 on the CPU, under OpenAI's names."""
        state = self.clip_model.state_dict()
        weights = {name: value.to("cpu", torch.float32, copy=True) for name, value in state.items()}
        for path, attn in self.adapted.items():
            attn.add_to(weights, f"{path}.")
        return weights

    def in_official_order(self) -> dict[str, LoRAAttention]:
        """Return the attentions that learn by their paths, those of the text first."""
        return dict(sorted(self.adapted.items(), key=lambda pair: pair[0].startswith("visual")))


def read_official(path: Path, settings: CLIPLoRASettings, model: CLIPLoRAModel) -> dict[str, Tensor]:
    """Return the tensors of the release's file under the model's names.

    Raises ValueError naming the file where it is damaged, or was learned with other settings.
    """
    try:
        content = read_saved(path)
        said, layers = content["metadata"], content["weights"]
        theirs = {key: checkpoints.plain(said[key.lower()]) for key in METADATA}
        paths = model.in_official_order()
        named = {f"layer_{i}": path for i, path in enumerate(paths)}
        tensors = {
            f"{named.get(layer, layer)}.{projection}.{name}": value.detach()
            for layer, projections in layers.items()
            for projection, pair in projections.items()
            for name, value in pair.items()
        }
    except UNREADABLE as error:
        raise ValueError(f"cannot load {path}: damaged, or not a file of CLIP-LoRA's") from error
    pairs = {key: (theirs[key], ours) for key, ours in settings.values().items() if key in METADATA}
    differs = [
        f"{settings.key(key)} is {there} there, {here} here" for key, (there, here) in pairs.items() if there != here
    ]
    if differs:
        raise ValueError(f"{path} does not fit this run: {'; '.join(differs)}")
    return tensors


@TRAINER_REGISTRY.register()
class CLIP_LoRA(PerShotTrainer):
    """Trainer of CLIP-LoRA; ``CLIPLoRA`` is an alias of its name."""

    registered_name = "clip_lora"
    shape_settings = METADATA

    def check_cfg(self, cfg: Any) -> None:
        """Raise ValueError naming the key whose value is not allowed."""
        super().check_cfg(cfg)
        if cfg.TRAINER.COMPILE:
            line = "TRAINER.COMPILE: torch's compiler gives wrong gradients of CLIP_LoRA's text tower: leave it out"
            raise ValueError(line)

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> CLIPLoRAModel:
        """Return the model over these classes, with the release's prompt unless DATASET.TEMPLATE is given."""
        prompts = fill(cfg.DATASET.TEMPLATE or f"{PHRASE} {{}}.", classnames)
        return CLIPLoRAModel(clip_model, prompts, cls.settings_of(cfg))

    @classmethod
    def official_draws(cls, cfg: Any, model: CLIPLoRAModel) -> Iterator[Draw]:
        """Yield a CLIP, seeds of two loaders and, text first, each attention's new layers and then those that learn."""
        yield from a_clip(model)
        yield Draw("seeds of the passes over validation and test images", "uniform", (4,))  # of 64 bits each
        for path, attn in model.in_official_order().items():
            shape = (attn.width, attn.width)
            for name in PROJECTIONS.values():
                yield from linear(f"{path}.{name}", shape)
            for name in attn.terms:
                yield from linear(f"{path}.{name}", shape)
                yield uniform(model, f"{path}.{name}.w_lora_A", default_bound(attn.width))

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load a run's folder, or one with the release's file. Raises as the base does, and as ``read_official``."""
        path = Path(directory, OFFICIAL_FILE)
        if not path.is_file():
            super().load_model(directory, epoch)
            return
        checkpoints.load_learned(self.model, read_official(path, self.settings, self.model), path)
        print(f"Load {path} to {self.registered_name}")
