"""Training steps as CUDA graphs, as far as that goes without a GPU: what may be recorded, and when it is replayed."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import reference
from trainers.shared import graphs

# They wait for values, or copy from the host.
WAITS = {
    *("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "lift_fresh", "unique_dim", "_unique2"),
    "unique_consecutive",
}


class Watch(TorchDispatchMode):
    """The operations of a ``with`` statement: ``launched``, with shapes and numbers, and which of them wait."""

    def __init__(self):
        super().__init__()
        self.launched, self.waiting = [], Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, flat = func.overloadpacket.__name__, torch.utils._pytree.tree_leaves((args, kwargs or {}))
        tensors = [value for value in flat if isinstance(value, torch.Tensor)]
        by_values = name.startswith("index") and any(t.dtype == torch.bool for t in tensors[1:])
        by_values |= name == "repeat_interleave" and not (kwargs or {}).get("output_size")
        self.waiting[name] += name in WAITS or by_values
        self.launched.append((str(func), [tuple(t.shape) for t in tensors], [v for v in flat if isinstance(v, float)]))
        return func(*args, **(kwargs or {}))


def obstacles(trainer, monkeypatch):
    """What a graph of this trainer's pass would meet in its second to fourth step, and what follows its updates."""
    passes, waiting = [], Counter()

    def watched(call, keep):
        def run(*args):
            with Watch() as watch:
                found = call(*args)
            waiting.update(+watch.waiting)
            keep.append(watch.launched)
            return found

        return run

    batches = list(islice(trainer.train_loader_x, 4))
    trainer.set_model_mode("train")
    trainer.epoch, trainer.batch_idx, trainer.num_batches = 0, 0, 1000
    trainer.forward_backward(batches[0])
    trainer.do_pass = watched(trainer.do_pass, passes)
    monkeypatch.setattr(trainer, "after_update", watched(trainer.after_update, []))
    for trainer.batch_idx, batch in enumerate(batches[1:], start=1):
        trainer.epoch = 0 if trainer.batch_idx < 3 else trainer.max_epoch - 1
        trainer.forward_backward(batch)
    differ = ["steps differ"] if any(one != passes[0] for one in passes) else []
    return sorted(waiting) + differ


@pytest.mark.parametrize("method", reference.learning())
def test_a_step_waits_for_nothing_and_is_the_same_every_time_or_the_method_says_why(method, make_trainer, monkeypatch):
    monkeypatch.setattr("clip.layers.waits_for_launches", lambda device: True)
    trainer = make_trainer(method)
    found = obstacles(trainer, monkeypatch)
    assert bool(found) == bool(trainer.not_graphed), found or trainer.not_graphed


class FakeGraph:
    """Keeps what it is told; a replay computes anew and writes where the recording's results lie, as a GPU does."""

    def __init__(self, parameters, fails=None, stale=False):
        self.calls, self.parameters, self.fails, self.stale = [], list(parameters), fails, stale

    def aside(self, run):
        self.calls.append("aside")
        return run()

    def record(self, run):
        self.calls.append("record")
        if self.fails:
            raise self.fails
        self.run, self.out = run, run()
        self.grads = [value.grad for value in self.parameters]
        for mine in (self.out, *self.grads):
            mine.fill_(float("nan"))  # nothing is computed yet
        return self.out

    def replay(self):
        self.calls.append("replay")
        before = [value.grad for value in self.parameters]
        self.out.copy_(self.run())
        if self.stale:  # a gradient is not the batch's
            self.parameters[-1].grad = self.parameters[-1].grad.flip(0) + 1
        for mine, value, found in zip(self.grads, self.parameters, before, strict=True):
            mine.copy_(value.grad)
            value.grad = found  # a replay knows memory, not attributes


def trained(trainer, graph=None):
    """The learned tensors and losses of 7 steps, of which the second and the sixth have a smaller batch."""
    if graph:
        trainer.replay_passes(graph)
    trainer.set_model_mode("train")
    trainer.epoch, trainer.num_batches = 0, 1000
    batches, losses = list(trainer.train_loader_x) * 2, []
    for trainer.batch_idx, batch in enumerate(batches[:7]):
        if trainer.batch_idx in (1, 5):
            batch = {key: value[:3] for key, value in batch.items()}
        losses.append(trainer.forward_backward(batch)["loss"])
    return [value.detach().clone() for value in trainer.model.parameters()], losses


@pytest.mark.parametrize(
    ("fails", "stale", "why"),
    [
        (None, False, ""),
        (RuntimeError("operation not permitted\nwhen capturing"), False, "operation not permitted"),
        (None, True, "its first replay gave other numbers than the step itself"),
    ],
)
def test_replayed_steps_train_as_others_do(fails, stale, why, make_trainer, capsys):
    want, losses = trained(make_trainer("MMRL"))
    trainer = make_trainer("MMRL")
    graph = FakeGraph(trainer.model.parameters(), fails, stale)
    found, same = trained(trainer, graph)
    assert losses == same and all(torch.equal(a, b) for a, b in zip(found, want, strict=True))
    assert graph.calls == ["aside"] * graphs.WARM_UP + (
        ["record"] if fails else ["record", "replay"] if stale else ["record", "replay", "replay", "replay"]
    )
    if not why:
        images, labels = trainer.parse_batch_train(next(iter(trainer.train_loader_x)))
        assert trainer.do_pass(images, labels).data_ptr() != graph.out.data_ptr()
    said = f"steps are not replayed as a CUDA graph: {why}"
    assert capsys.readouterr().out.count(f"note: {said}\n") == bool(why)
    assert (trainer.notes.get("cuda_graph") == said) == bool(why)


@pytest.mark.parametrize(
    ("method", "option", "why"),
    [("MMRL", False, "TRAINER.CUDA_GRAPHS is False"), ("PLOT", True, "how many iterations Sinkhorn has in a step")],
)
def test_where_there_is_no_graph_a_line_says_why(method, option, why, make_trainer, capsys):
    trainer = make_trainer(method, "TRAINER.CUDA_GRAPHS", option)
    trainer.replay_passes(None)
    assert trainer.do_pass == trainer.run_pass
    assert f"Steps are not replayed as a CUDA graph: {why}" in capsys.readouterr().out


@pytest.mark.parametrize(("frequency", "resume", "steps"), [(3, 0, 3), (10, 0, 5), (10, 4, 4)])
def test_an_accelerator_looks_at_losses_late_but_before_anything_is_saved(frequency, resume, steps, make_trainer):
    trainer = make_trainer("CoOp", "TRAIN.PRINT_FREQ", frequency, "TRAIN.RESUME_FREQ", resume)
    trainer.device, done = torch.device("cuda"), []

    def parse(batch):
        done.append(batch)
        return batch["img"] * (float("nan") if len(done) == 2 else 1), batch["label"]

    trainer.parse_batch_train = parse
    with pytest.raises(FloatingPointError, match="^the loss is nan at epoch 1, batch 2 "):
        trainer.train()
    trainer.close_writer()
    assert len(done) == steps
    saved = {path.name for path in Path(trainer.output_dir).iterdir()}
    assert saved == {"tensorboard"}
