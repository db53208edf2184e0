"""A run stopped at any step goes on bit for bit; a damaged rolling file is noticed; SIGTERM's way out."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from dassl.engine import TRAINER_REGISTRY, Preempted, TrainerXU, Vanilla, build_trainer, resume
from dassl.engine.rolling import PREVIOUS_FILE, RESUME_FILE, RollingFile
from dassl.utils import set_random_seed
from tests.damage import damages

EPOCHS, BATCHES = 3, 3


@pytest.fixture
def cfg(cfg):
    cfg.OPTIM.MAX_EPOCH = EPOCHS
    return cfg


@TRAINER_REGISTRY.register()
class Both(TrainerXU):
    """On labelled and unlabelled images; the network has dropout, so steps draw random numbers too."""

    def forward_backward(self, batch_x, batch_u):
        images, labels, unlabelled = self.parse_batch_train(batch_x, batch_u)
        loss = F.cross_entropy(self.model(images), labels) + 0.1 * self.model(unlabelled).square().mean()
        self.model_backward_and_update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": loss}


def fresh(cfg, name: str, seed: int = 0):
    """A trainer as the command line builds it; `seed` then moves the random generators elsewhere."""
    cfg = cfg.clone()
    cfg.OUTPUT_DIR += f"_{name}"
    cfg.TRAIN.PRINT_FREQ = 1
    set_random_seed(0)  # the few shots are drawn as the trainer is built
    trainer = build_trainer(cfg)
    if seed:
        set_random_seed(seed)
    return trainer


def weights(trainer) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in trainer.model.state_dict().values()])


def die_before(trainer, epoch: int, batch: int) -> None:
    """Train up to the given step, then end as if killed there."""
    step = trainer.forward_backward

    def dying(*data):
        if (trainer.epoch, trainer.batch_idx) == (epoch, batch):
            raise KeyboardInterrupt
        return step(*data)

    trainer.forward_backward = dying
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.close_writer()


def assert_same(one, two) -> None:
    assert torch.equal(weights(one), weights(two))
    assert one.best_result == two.best_result
    assert one.evaluator._y_pred == two.evaluator._y_pred
    for kind in ("_optims", "_scheds"):
        states = [{name: str(value.state_dict()) for name, value in getattr(t, kind).items()} for t in (one, two)]
        assert states[0] == states[1]


@pytest.mark.parametrize(("final", "frequency"), [("last_step", 1), ("best_val", 2)])
def test_a_run_killed_before_any_step_goes_on_exactly(cfg, final, frequency, capsys) -> None:
    cfg.TEST.FINAL_MODEL = final
    cfg.TRAIN.RESUME_FREQ = frequency
    whole = fresh(cfg, "whole")
    whole.train()
    for epoch in range(EPOCHS):
        for batch in range(BATCHES):
            killed = fresh(cfg, f"{epoch}{batch}")
            die_before(killed, epoch, batch)
            capsys.readouterr()
            # Whatever ran since does not matter, once something is saved.
            resumed = fresh(cfg, f"{epoch}{batch}", seed=9 if RollingFile(killed.output_dir).exists() else 0)
            resumed.train()
            out = capsys.readouterr().out
            steps = re.findall(r"epoch \[(\d)/3\] batch \[(\d)/3\]", out)
            lost = (epoch * BATCHES + batch) - (EPOCHS * BATCHES - len(steps))
            assert 0 <= lost < frequency  # no more is done again than asked for
            if batch >= frequency:
                assert f"will resume training in epoch {epoch + 1} after batch {batch - batch % frequency}" in out
            elif epoch:
                assert f"will resume training after epoch {epoch}" in out
            assert not RollingFile(resumed.output_dir).exists()
            assert_same(resumed, whole)


@pytest.mark.parametrize(("cache", "final"), [(0.0, "last_step"), (2.0, "best_val")])
def test_with_workers_too(cfg, cache, final) -> None:
    """Killed again in the epoch that was gone on with, and between epochs; noise makes what is drawn show."""
    cfg.INPUT.TRANSFORMS = ("random_resized_crop", "random_flip", "normalize", "gaussian_noise")
    cfg.DATALOADER.NUM_WORKERS = 2
    cfg.DATALOADER.CACHE_GB = cache
    cfg.TEST.FINAL_MODEL = final
    cfg.TRAIN.RESUME_FREQ = 1
    whole = fresh(cfg, "whole")
    whole.train()
    die_before(fresh(cfg, "killed"), 1, 1)
    die_before(fresh(cfg, "killed", seed=5), 1, 2)
    die_before(fresh(cfg, "killed", seed=6), 2, 0)
    resumed = fresh(cfg, "killed", seed=7)
    resumed.train()
    assert_same(resumed, whole)


@pytest.mark.parametrize(("workers", "batch"), [(0, 1), (0, 3), (1, 3)])  # of 4, while the labelled images make 1
def test_the_shorter_of_two_loaders_goes_on_in_its_round(cfg, workers, batch) -> None:
    cfg.TRAINER.NAME = "Both"
    cfg.DATASET.NUM_SHOTS = 2
    cfg.TRAIN.COUNT_ITER = "train_u"
    cfg.TRAIN.RESUME_FREQ = 1
    cfg.OPTIM.MAX_EPOCH = 2
    cfg.DATALOADER.NUM_WORKERS = workers
    cfg.DATALOADER.TRAIN_U.SAME_AS_X = False
    cfg.DATALOADER.TRAIN_U.BATCH_SIZE = 4
    whole = fresh(cfg, "whole")
    whole.train()
    die_before(fresh(cfg, "killed"), 1, batch)
    resumed = fresh(cfg, "killed", seed=7)
    resumed.train()
    assert_same(resumed, whole)


@pytest.mark.parametrize(("epoch", "batch"), [(0, 0), (1, 1), (2, 2)])
def test_a_stop_on_request_saves_the_step_at_hand(cfg, epoch, batch, capsys) -> None:
    whole = fresh(cfg, "whole")
    whole.train()
    stopped = fresh(cfg, "stopped")
    step = stopped.forward_backward

    def asked(data):
        if (stopped.epoch, stopped.batch_idx) == (epoch, batch):
            stopped.request_stop()
        return step(data)

    stopped.forward_backward = asked
    with pytest.raises(Preempted):
        stopped.train()
    stopped.close_writer()
    capsys.readouterr()
    resumed = fresh(cfg, "stopped", seed=3)
    resumed.train()
    done = len(re.findall(r"epoch \[\d/3\] batch", capsys.readouterr().out))
    assert done == EPOCHS * BATCHES - (epoch * BATCHES + batch + 1)
    assert_same(resumed, whole)


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="a worker cannot know who sends a signal here")
def test_loader_workers_end_at_their_parents_word_only(cfg) -> None:
    """SIGTERM to a whole process group leaves the run its workers until it has finished its step."""
    cfg.DATALOADER.NUM_WORKERS = 2
    loader = fresh(cfg, "workers").train_loader_x
    batches = iter(loader)
    for _ in range(2):  # one of each worker, so that both have begun
        next(batches)
    workers = list(batches._workers)
    code = "import os, sys; [os.kill(int(pid), 15) for pid in sys.argv[1:]]"
    subprocess.run([sys.executable, "-c", code, *(str(worker.pid) for worker in workers)], check=True)
    assert len(list(batches)) == BATCHES - 2
    assert len(list(loader)) == BATCHES
    workers[0].terminate()
    workers[0].join(timeout=20)
    assert workers[0].exitcode == 0
    begun = time.monotonic()
    loader.end_workers()  # as at exit; `batches` still holds the other
    assert not workers[1].is_alive() and time.monotonic() - begun < 4
    assert len(list(loader)) == BATCHES


def test_a_stop_outside_the_steps_is_at_once(cfg, monkeypatch) -> None:
    trainer = fresh(cfg, "idle")
    with pytest.raises(Preempted):
        trainer.request_stop()

    monkeypatch.setattr(Vanilla, "run_epoch", lambda self: self.request_stop())  # one that does not look
    trainer = fresh(cfg, "own")
    with pytest.raises(Preempted):
        trainer.train()
    assert RollingFile(trainer.output_dir).read()["epoch"] == 1


def stopped_after(cfg, epochs: int):
    cfg.TRAIN.RESUME_FREQ = BATCHES
    trainer = fresh(cfg, "damaged")
    die_before(trainer, epochs, 0)
    return Path(trainer.output_dir)


def test_a_damaged_file_is_noticed_and_the_one_before_it_used(cfg, capsys) -> None:
    whole = fresh(cfg, "whole")
    whole.train()
    folder = stopped_after(cfg, 2)
    content = bytearray((folder / RESUME_FILE).read_bytes())
    content[content.index(weights(RestoredFrom(folder))[:2].numpy().tobytes())] ^= 1
    (folder / RESUME_FILE).write_bytes(content)
    capsys.readouterr()
    resumed = fresh(cfg, "damaged", seed=4)
    resumed.train()
    out = capsys.readouterr().out
    assert f"note: cannot load checkpoint {folder}/{RESUME_FILE}: damaged, or not a checkpoint; going on from" in out
    assert "will resume training after epoch 1" in out
    assert_same(resumed, whole)
    assert sorted(path.name for path in folder.iterdir()) == ["model", "tensorboard"]


def test_short_epochs_share_a_save(cfg, monkeypatch) -> None:
    """Saved is the first epoch, and the next one a second later; an earlier version's lists of numbers still load."""
    cfg.OPTIM.MAX_EPOCH = 4
    saved, whole = [], fresh(cfg, "whole")
    whole.train()
    real, clock = RollingFile.write, iter([0.0, 0.0, 0.4, 1.1, 1.1])  # asked at each epoch's end and after a save
    monkeypatch.setattr(RollingFile, "write", lambda self, state: (saved.append(state["epoch"]), real(self, state)))
    monkeypatch.setattr(resume, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    die_before(fresh(cfg, "killed"), 3, 1)
    monkeypatch.undo()
    file = RollingFile(f"{cfg.OUTPUT_DIR}_killed")
    assert saved == [1, 3] and file.read()["epoch"] == 3
    state = file.read()
    version, numbers, gauss = state["rng"]["python"]
    name, keys, *rest = state["rng"]["numpy"]
    old = {"python": (version, tuple(numbers.tolist()), gauss), "numpy": (name, keys.tolist(), *rest)}
    file.write({**state, "rng": state["rng"] | old})
    resumed = fresh(cfg, "killed", seed=7)
    resumed.train()
    assert_same(resumed, whole)


class RestoredFrom:
    """What a folder's rolling file holds, as a trainer for `weights`."""

    def __init__(self, folder: Path) -> None:
        state = RollingFile(folder).read()["models"]["model"]
        self.model = torch.nn.Module()
        self.model.state_dict = lambda: state


def test_a_damaged_file_never_becomes_the_previous_one(cfg) -> None:
    folder = stopped_after(cfg, 2)
    for number in range(3):
        (folder / RESUME_FILE).write_bytes(b"half a file")
        state = RollingFile(folder).read()
        RollingFile(folder).write({**state, "epoch": number})
    assert RollingFile(folder).read()["epoch"] == 2


def test_both_generations_damaged_stop_the_run(cfg) -> None:
    folder = stopped_after(cfg, 2)
    for name in (RESUME_FILE, PREVIOUS_FILE):
        (folder / name).write_bytes((folder / name).read_bytes()[:-300])
    with pytest.raises(ValueError, match=rf"{RESUME_FILE}: damaged.*; so is .*{PREVIOUS_FILE}: remove both to train"):
        fresh(cfg, "damaged").train()
    (folder / PREVIOUS_FILE).unlink()
    with pytest.raises(ValueError, match=rf"{RESUME_FILE}: damaged, or not a checkpoint; remove it to train from scr"):
        fresh(cfg, "damaged").train()


def test_killed_between_two_generations(cfg) -> None:
    folder = stopped_after(cfg, 2)
    (folder / RESUME_FILE).unlink()
    assert fresh(cfg, "damaged").resume_model_if_exist(str(folder)) == 1


def test_every_damage_is_noticed_or_without_effect(cfg) -> None:
    """200 flipped bits and 50 cuts: refused, or (in the archive's padding) read as it was written."""
    folder = stopped_after(cfg, 1)
    path = folder / RESUME_FILE
    whole, refused = path.read_bytes(), 0
    sound = str(RollingFile(folder).read())
    for _, content in damages(whole):
        path.write_bytes(content)
        try:
            assert str(RollingFile(folder).read()) == sound
        except ValueError as error:
            assert str(error).startswith(f"cannot load checkpoint {path}: damaged, or not a checkpoint")
            refused += 1
    assert refused > 150


def test_a_rolling_file_of_something_else(cfg, tmp_path) -> None:
    trainer = fresh(cfg, "one")
    trainer.save_resume_state(str(tmp_path))
    state = RollingFile(tmp_path).read()
    RollingFile(tmp_path).write({**state, "optims": {"model": {"state": {}, "param_groups": []}}})
    with pytest.raises(ValueError, match=rf"^cannot resume from {tmp_path}/{RESUME_FILE}: it does not fit this run \("):
        fresh(cfg, "two").resume_model_if_exist(str(tmp_path))
    other = fresh(cfg, "three")
    other.depends_on = lambda: "other weights"
    trainer.depends_on = lambda: "some weights"
    trainer.save_resume_state(str(tmp_path))
    with pytest.raises(ValueError, match="it belongs to some weights, not other weights"):
        other.resume_model_if_exist(str(tmp_path))
    torch.save({"state_dict": {}}, tmp_path / RESUME_FILE)
    with pytest.raises(ValueError, match="it holds other models than"):
        other.resume_model_if_exist(str(tmp_path))


def test_checkpoints_without_an_optimiser_are_no_place_to_go_on_from(cfg, tmp_path, capsys) -> None:
    trainer = fresh(cfg, "one")
    for folder in (tmp_path, Path(trainer.output_dir)):
        (folder / "model").mkdir(parents=True)
        (folder / "model/checkpoint").write_text("model-3.safetensors\n")
    with pytest.raises(
        ValueError, match=f"^cannot resume: the checkpoints in {tmp_path} hold no state of the optimiser"
    ):
        trainer.resume_model_if_exist(str(tmp_path))
    assert trainer.resume_model_if_exist(trainer.output_dir) == 0
    assert (
        "hold no state of the optimiser, and there is no resume.pth.tar: train from scratch" in capsys.readouterr().out
    )
