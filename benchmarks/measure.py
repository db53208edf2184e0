"""Time, floating-point operations, launches, and the machine's rate of matrix products."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry, sdpa_backward_flop, sdpa_flop
from tqdm import tqdm

# Older versions of torch do not count the CPU's attention.
flop_registry.setdefault(torch.ops.aten._scaled_dot_product_flash_attention_for_cpu, sdpa_flop)
flop_registry.setdefault(torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward, sdpa_backward_flop)

# Operations that start no kernel: they hand out memory or a view of it, or read a number. Other views are told apart.
SILENT = {
    *("_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
    *("promote_types", "result_type", "_local_scalar_dense", "_record_function_enter_new", "_record_function_exit"),
}


def synchronize(device: str) -> None:
    """Wait for what was launched."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()


def alternate(
    calls: Mapping[str, Callable[[], Any]], repeats: int, device: str, title: str, warm_up: int = 0
) -> dict[str, float]:
    """Median seconds of each call; they take turns (A B A B ...), so that what disturbs one disturbs all."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    with tqdm(total=(warm_up + repeats) * len(calls), desc=title, leave=False) as bar:
        for turn in range(-warm_up, repeats):
            for name, call in calls.items():
                synchronize(device)
                start = time.perf_counter()
                call()
                synchronize(device)
                if turn >= 0:
                    times[name].append(time.perf_counter() - start)
                bar.update()
    return {name: statistics.median(values) for name, values in times.items()}


def count_flops(call: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products, convolutions and attentions that ``call`` does."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


class Launches(TorchDispatchMode):
    """Count operations that launch a kernel on an accelerator, within a ``with`` statement.

    Each counts once, though a few launch several kernels: ``count`` is a figure of the program, on any device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func._schema.returns
        view = any(one.alias_info is not None and not one.alias_info.is_write for one in results)
        self.count += not view and func.overloadpacket.__name__ not in SILENT
        return func(*args, **(kwargs or {}))


def count_kernels(call: Callable[[], Any], device: str) -> int | None:
    """Return the number of kernels that ``call`` runs on a CUDA device by torch's profiler; None on another device."""
    if torch.device(device).type != "cuda":
        return None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call()
        synchronize(device)
    on_device = (event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA)
    return sum(not event.name.startswith(("Memcpy", "Memset")) for event in on_device)


def issue_seconds(call: Callable[[], Any], repeats: int, device: str) -> float | None:
    """Return the host's median seconds to issue ``call`` to an idle CUDA device; None on another device."""
    if torch.device(device).type != "cuda":
        return None
    times = []
    for _ in range(repeats):
        synchronize(device)
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    synchronize(device)
    return statistics.median(times)


class MatrixProducts:
    """Products of the MLP's shape, ``[rows, 768] x [768, 3072]``, to measure the rate a step could reach.

    An accelerator gets more rows: 800 would measure its launches.
    """

    def __init__(self, precision: str, device: str, rows: int | None = None):
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}.get(precision, torch.float16)
        cpu = torch.device(device).type == "cpu"
        rows = rows or (800 if cpu else 32768)
        self.a = torch.randn(rows, 768).to(device, dtype)
        self.b = torch.randn(768, 3072).to(device, dtype)
        self.count = 1 if cpu and dtype == torch.float16 else 10  # most CPUs take seconds for one in half precision

    @property
    def flops(self) -> int:
        """Of one call."""
        return 2 * self.a.shape[0] * self.a.shape[1] * self.b.shape[1] * self.count

    def __call__(self) -> None:
        for _ in range(self.count):
            torch.mm(self.a, self.b)


def machine(device: str) -> dict[str, Any]:
    """What the numbers depend on."""
    cuda = torch.device(device).type == "cuda"
    return {
        "processor": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "bf16_instructions": bool({*_cpuinfo("flags").split()} & {"amx_bf16", "avx512_bf16"}),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name(device) if cuda else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def _cpuinfo(key: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
