"""A training step's forward and backward pass as one CUDA graph: recorded once, then replayed without its launches.

The first ``WARM_UP`` steps run as they are, on a stream of their own, as torch asks. The next one is recorded, and its
first replay is compared with the same step as it is: a graph that disagrees is not used. The optimiser stays outside,
so that learning rates and loss scales may change. Batches of another shape (an epoch's last) run as they are. None of
this has run on a GPU yet: the tests have a graph that only keeps what it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

WARM_UP = 3
AGREEMENT = 1e-2  # relative, in norm: of sums in another order in half precision; what a wrong graph gives is far off
Pass = Callable[[Tensor, Tensor], Tensor]  # images, labels to numbers for the log; sets the gradients


class CUDAGraphs:
    """What ``GraphedPass`` needs of ``torch.cuda``."""

    def __init__(self, device: torch.device):
        self.device, self.graph, self.stream = device, torch.cuda.CUDAGraph(), torch.cuda.Stream(device)

    def aside(self, run: Callable[[], Tensor]) -> Tensor:
        """Run on a stream that is not the current one, which waits for it."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            found = run()
        current.wait_stream(self.stream)
        return found

    def record(self, run: Callable[[], Tensor]) -> Tensor:
        """Record what ``run`` launches; nothing of it is computed. Other threads, such as loaders', go on."""
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            return run()

    def replay(self) -> None:
        """Compute what was recorded."""
        self.graph.replay()


class GraphedPass:
    """A forward and backward pass ``run`` over ``parameters``, which is recorded and replayed.

    Recording that fails is said once by ``note`` (kind and line), and every step runs as it is from then on.
    """

    def __init__(self, run: Pass, parameters: Iterable[nn.Parameter], graphs: Any, note: Callable[[str, str], None]):
        self.run, self.parameters, self.graphs, self.note = run, list(parameters), graphs, note
        self.steps, self.failed = 0, False
        self.inputs: tuple[Tensor, Tensor] | None = None
        self.numbers: Tensor | None = None
        self.gradients: list[Tensor | None] = []

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Do the pass; the numbers are the caller's own."""
        if self.inputs is None:
            self.inputs = images.clone(), labels.clone()
        if self.failed or self.inputs[0].shape != images.shape:
            return self.run(images, labels)
        self.steps += 1
        if self.steps <= WARM_UP:
            return self.graphs.aside(lambda: self.run(images, labels))
        for own, new in zip(self.inputs, (images, labels), strict=True):
            own.copy_(new)
        if self.numbers is None and (why := self._record()):
            self.failed, self.numbers = True, None
            self.note("cuda_graph", f"steps are not replayed as a CUDA graph: {why}")
            return self.run(images, labels)
        assert self.numbers is not None
        self.graphs.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient  # where the graph writes it, whatever a step in between has put there
        return self.numbers.clone()

    def _record(self) -> str:
        """Record the pass over the inputs; return why it cannot be replayed, or ""."""
        assert self.inputs is not None
        devices = [self.inputs[0].device] if self.inputs[0].is_cuda else []
        with torch.random.fork_rng(devices):  # a run's random numbers are not spent on the comparison
            numbers = self.run(*self.inputs)
        want = [numbers, *(parameter.grad for parameter in self.parameters)]
        for parameter in self.parameters:
            parameter.grad = None  # it lies in the graph's memory, and is written, not added to
        try:
            self.numbers = self.graphs.record(lambda: self.run(*self.inputs))
        except (RuntimeError, ValueError, TypeError) as error:
            return str(error).splitlines()[0]
        self.gradients = [parameter.grad for parameter in self.parameters]
        self.graphs.replay()
        same = agree([self.numbers, *self.gradients], want)
        return "" if same else "its first replay gave other numbers than the step itself"


def agree(found: Iterable[Tensor | None], want: Iterable[Tensor | None]) -> bool:
    """Return whether tensors are the same up to ``AGREEMENT``, missing ones in the same places; one wait in all."""
    pairs = list(zip(found, want, strict=True))
    if any((a is None) != (b is None) for a, b in pairs):
        return False
    far = [(a - b).norm() <= AGREEMENT * b.norm() for a, b in pairs if a is not None and b is not None]
    return bool(torch.stack(far).all())
