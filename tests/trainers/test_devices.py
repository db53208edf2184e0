"""Every method as on an accelerator, without one: no tensor of another device meets another, dtypes are as documented.

A step is whole on ``meta``, which has no autocast. Under autocast, CUDA's tensors are fake and have no backward pass.
"""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_leaves

import reference
import trainers
from dassl.config import get_cfg_default
from runs.config import merge_pairs
from tests.often import some_often
from trainers.shared.backbone import load_clip
from trainers.shared.base import autocast

NAMES = ["dog", "yellow-bellied sapsucker", "inline_skate", "photo of x"]
PRODUCTS = {torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default}
WHERE = {"fp32": "meta", "fp16": "meta", "amp": "cuda", "bf16": "cuda"}
LOW = {"fp16": torch.float16, "amp": torch.float16, "bf16": torch.bfloat16}


class Elsewhere(FakeTensorMode):
    """Run what CUDA's tensors take part in on shapes and dtypes alone, and all else as ever.

    ``products`` has the dtypes of matrix products on another device. What is read of another device is 1, or True.
    """

    def __init__(self):
        super().__init__(allow_non_fake_inputs=True)
        self.products = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        flat = tree_leaves((args, kwargs))
        if func is torch.ops.aten._local_scalar_dense.default and args[0].device.type != "cpu":
            return 1
        if func in PRODUCTS and args[0].device.type != "cpu":
            self.products.add(args[0].dtype)
        fake = any(isinstance(v, FakeTensor) or isinstance(v, torch.device) and v.type == "cuda" for v in flat)
        return super().__torch_dispatch__(func, types, args, kwargs) if fake else func(*args, **kwargs)


@pytest.fixture
def elsewhere(monkeypatch):
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda *args: True)
    with Elsewhere() as mode:
        yield mode


def placed(module, device):
    """Give a module's tensors another device; fake ones cannot be moved by ``Module.to``."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                new = torch.empty_like(value, device=device)
                part._parameters[name] = torch.nn.Parameter(new, requires_grad=value.requires_grad)
        for name, value in part._buffers.items():
            part._buffers[name] = torch.empty_like(value, device=device)
    return module


def are(device, dtype, values):
    """All floating-point tensors are of the dtype, and all tensors on the device."""
    tensors = [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]
    assert {value.device.type for value in tensors} <= {device.type}
    assert {value.dtype for value in tensors if value.is_floating_point()} <= {dtype}


@pytest.fixture
def build(toy_clip, monkeypatch):
    def build(method, precision, device):
        kind, cfg = trainers.load(method), get_cfg_default()
        trainers.extend_cfg(cfg)
        facts = reference.of(method)
        for name, value in facts.smaller.items():
            monkeypatch.setattr(name, value)
        options = {"TRAINER.NAME": method, "DATASET.NAME": "Caltech101", **facts.toy}
        merge_pairs(cfg, list(options.items()))
        clip_model = placed(load_clip(toy_clip, precision, torch.device("cpu")), device)
        with autocast(precision, device):
            model = placed(kind.build_method(cfg, clip_model, NAMES), device)
            facts.ready(model)
        return model

    return build


OFTEN = {
    "amp MMRL",
    "amp PLOT",
    "amp TCP",
    "amp MaPLe",
    "amp CLIP_LoRA",
    *(f"fp16 {name}" for name in trainers.METHODS),
}


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")  # by copy.deepcopy
@pytest.mark.parametrize("case", some_often([f"{prec} {name}" for prec in WHERE for name in trainers.METHODS], OFTEN))
def test_lives_on_its_device(case, build, elsewhere):
    precision, method = case.split()
    facts, device, wide = reference.of(method), torch.device(WHERE[precision]), torch.float32
    model = build(method, precision, device)
    images, labels = torch.empty(3, 3, 32, 32, device=device), torch.empty(3, dtype=torch.long, device=device)
    if facts.learns:
        with autocast(precision, device):
            loss, scores = model.loss(images, labels)
        are(device, wide, [loss, scores])
        if device.type == "meta":
            loss.backward()
            torch.optim.AdamW(model.parameters()).step()
            are(device, wide, [value.grad for value in model.parameters()])
    with torch.no_grad(), autocast(precision, device):
        w = model.class_features()
        for seen in (True, False) if facts.new_classes else (True,):
            model.use_classes(seen)
            scores = model.scores(images, w)
            are(device, wide, [w, scores, model.probabilities(scores), model.log_probabilities(scores)])
    are(device, wide, model.state_dict())
    model.load_state_dict(model.state_dict())
    low = LOW.get(precision, wide)
    assert low in elsewhere.products <= {low, wide}
