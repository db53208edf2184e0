"""Checkpoints in the public form."""

from __future__ import annotations

import os

import torch

from .utils import mkdir_if_missing


def save_checkpoint(state, save_dir, is_best=False, remove_module_from_keys=True, model_name=""):
    mkdir_if_missing(save_dir)
    name = model_name or f"model.pth.tar-{state['epoch']}"
    torch.save(state, os.path.join(save_dir, name))
    with open(os.path.join(save_dir, "checkpoint"), "w") as file:
        file.write(f"{name}\n")


def load_checkpoint(fpath):
    if not os.path.exists(fpath):
        raise FileNotFoundError(fpath)
    return torch.load(fpath, map_location="cpu", weights_only=True)


def resume_from_checkpoint(fdir, model, optimizer=None, scheduler=None):
    with open(os.path.join(fdir, "checkpoint")) as file:
        checkpoint = load_checkpoint(os.path.join(fdir, file.readline().strip()))
    model.load_state_dict(checkpoint["state_dict"])
    if optimizer is not None:
        optimizer.load_state_dict(checkpoint["optimizer"])
    if scheduler is not None:
        scheduler.load_state_dict(checkpoint["scheduler"])
    return checkpoint["epoch"]


def count_num_param(model=None, params=None):
    return sum(value.numel() for value in (model.parameters() if model is not None else params))
