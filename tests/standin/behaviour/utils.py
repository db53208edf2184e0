"""Registry, meters, logger, and small tools."""

from __future__ import annotations

import json
import os
import random
import sys
from collections import defaultdict

import numpy as np
import torch
from PIL import Image


class Registry:
    def __init__(self, name):
        self._name = name
        self._obj_map = {}

    def _do_register(self, name, obj, force=False):
        if name in self._obj_map and not force:
            raise KeyError(f"{name} is registered in {self._name} already")
        self._obj_map[name] = obj

    def register(self, obj=None, force=False):
        if obj is not None:
            self._do_register(obj.__name__, obj, force=force)
            return obj

        def wrapper(thing):
            self._do_register(thing.__name__, thing, force=force)
            return thing

        return wrapper

    def get(self, name):
        if name not in self._obj_map:
            raise KeyError(f"{name} is not in {self._name}")
        return self._obj_map[name]

    def registered_names(self):
        return list(self._obj_map)


class AverageMeter:
    def __init__(self, ema=False):
        self.ema = ema
        self.reset()

    def reset(self):
        self.val = self.avg = self.sum = self.count = 0

    def update(self, val, n=1):
        self.val = float(val)
        self.sum += self.val * n
        self.count += n
        self.avg = self.avg * 0.9 + self.val * 0.1 if self.ema else self.sum / self.count


class MetricMeter:
    def __init__(self, delimiter=" "):
        self.meters = defaultdict(AverageMeter)
        self.delimiter = delimiter

    def update(self, input_dict):
        if input_dict is None:
            return
        if not isinstance(input_dict, dict):
            raise TypeError("MetricMeter.update takes a dictionary")
        for name, value in input_dict.items():
            self.meters[name].update(value.item() if isinstance(value, torch.Tensor) else value)

    def __str__(self):
        return self.delimiter.join(f"{name} {m.val:.4f} ({m.avg:.4f})" for name, m in self.meters.items())


class Logger:
    def __init__(self, fpath=None):
        self.console = sys.stdout
        self.file = None
        if fpath is not None:
            mkdir_if_missing(os.path.dirname(fpath))
            self.file = open(fpath, "w")  # noqa: SIM115 - open as long as the logger

    def write(self, msg):
        self.console.write(msg)
        if self.file is not None:
            self.file.write(msg)

    def flush(self):
        self.console.flush()
        if self.file is not None:
            self.file.flush()

    def close(self):
        if self.file is not None:
            self.file.close()


def setup_logger(output=None):
    if output is None:
        return
    path = output if output.endswith((".txt", ".log")) else os.path.join(output, "log.txt")
    if os.path.exists(path):
        path += "-again"
    sys.stdout = Logger(path)


def check_availability(requested, available):
    if requested not in available:
        raise ValueError(f"{requested} is none of {available}")


def check_isfile(fpath):
    return os.path.isfile(fpath)


def mkdir_if_missing(dirname):
    os.makedirs(dirname, exist_ok=True)


def listdir_nohidden(path, sort=False):
    names = [name for name in os.listdir(path) if not name.startswith(".")]
    return sorted(names) if sort else names


def read_image(path):
    return Image.open(path).convert("RGB")


def read_json(fpath):
    with open(fpath) as file:
        return json.load(file)


def write_json(obj, fpath):
    mkdir_if_missing(os.path.dirname(fpath))
    with open(fpath, "w") as file:
        json.dump(obj, file, indent=4)


def set_random_seed(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)


def tolist_if_not(x):
    return x if isinstance(x, list) else [x]


def collect_env_info():
    return "stand-in"
