"""Optimisers from the OPTIM node of the configuration."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from dassl.utils.tools import check_availability

from .radam import RAdam

AVAI_OPTIMS = ["adam", "amsgrad", "sgd", "rmsprop", "radam", "adamw"]


def build_optimizer(
    model: nn.Module | Iterable[Any], optim_cfg: Any, param_groups: Iterable[Any] | None = None
) -> torch.optim.Optimizer:
    """Build the optimiser `optim_cfg.NAME` over a model, parameters or parameter groups.

    `param_groups` takes precedence over `model`. With STAGED_LR the children of `model` named in NEW_LAYERS
    learn at LR and the others at LR * BASE_LR_MULT. Raises ValueError for an unknown name or an EPS below 0,
    TypeError if STAGED_LR has no model.
    """
    check_availability(optim_cfg.NAME, AVAI_OPTIMS)
    if param_groups is not None:
        if optim_cfg.STAGED_LR:
            warnings.warn("OPTIM.STAGED_LR is ignored because parameter groups are given", stacklevel=2)
        return _build(param_groups, optim_cfg)
    if optim_cfg.STAGED_LR:
        return _build(_staged_groups(model, optim_cfg), optim_cfg)
    return _build(model.parameters() if isinstance(model, nn.Module) else model, optim_cfg)


def _staged_groups(model: Any, optim_cfg: Any) -> list[dict[str, Any]]:
    if not isinstance(model, nn.Module):
        raise TypeError(f"OPTIM.STAGED_LR needs an nn.Module, got {type(model).__name__}")
    if isinstance(model, nn.DataParallel):
        model = model.module
    new_layers = optim_cfg.NEW_LAYERS
    names = [new_layers] if isinstance(new_layers, str) else list(new_layers)
    if not names:
        warnings.warn("OPTIM.NEW_LAYERS is empty, so STAGED_LR slows all layers", stacklevel=2)
    base: list[nn.Parameter] = []
    new: list[nn.Parameter] = []
    for name, child in model.named_children():
        (new if name in names else base).extend(child.parameters())
    return [{"params": base, "lr": optim_cfg.LR * optim_cfg.BASE_LR_MULT}, {"params": new}]


def _all_on_cuda(params: list[Any]) -> bool:
    """Return whether parameters, or lists of them in groups, are floating-point tensors on CUDA."""
    parts = (one["params"] if isinstance(one, dict) else [one] for one in params)
    values = [value for part in parts for value in (part if isinstance(part, list) else [part])]
    return all(isinstance(value, torch.Tensor) and value.is_cuda and value.is_floating_point() for value in values)


def _build(params: Any, cfg: Any) -> torch.optim.Optimizer:
    params = list(params)
    common = {"lr": cfg.LR, "weight_decay": cfg.WEIGHT_DECAY}
    if _all_on_cuda(params) and cfg.NAME not in ("radam", "rmsprop"):
        common["fused"] = True  # one launch, and a gradient scaler's step waits for nothing
    betas = (cfg.ADAM_BETA1, cfg.ADAM_BETA2)
    eps = getattr(cfg, "EPS", 1e-8)  # a trainer's own node of public keys has none
    if not eps >= 0:
        raise ValueError(f"OPTIM.EPS must be at least 0, not {eps}")
    match cfg.NAME:
        case "adam" | "amsgrad":
            return torch.optim.Adam(params, betas=betas, eps=eps, amsgrad=cfg.NAME == "amsgrad", **common)
        case "adamw":
            return torch.optim.AdamW(params, betas=betas, eps=eps, **common)
        case "radam":
            return RAdam(params, betas=betas, eps=eps, **common)
        case "rmsprop":
            return torch.optim.RMSprop(params, momentum=cfg.MOMENTUM, alpha=cfg.RMSPROP_ALPHA, eps=eps, **common)
        case _:
            momentum = {"momentum": cfg.MOMENTUM, "dampening": cfg.SGD_DAMPNING, "nesterov": cfg.SGD_NESTEROV}
            return torch.optim.SGD(params, **momentum, **common)
