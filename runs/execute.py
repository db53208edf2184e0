"""Carry out one run of `train.py` in its folder: build, train or load, test, and put what comes of it on record."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from common import commandline
from common.files import lock
from common.text import check_folder
from runs.arguments import parse_args, rehearsal
from runs.protocols import JOINT

if TYPE_CHECKING:
    from yacs.config import CfgNode

PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: try again


def carry_out(args: argparse.Namespace) -> int:
    """Carry out a run as `run` does; a reader of its output that goes away is an error, since the run ends by it."""
    try:
        return run(args)
    except BrokenPipeError as error:
        raise OSError(str(error)) from error


main = commandline.command(parse_args, carry_out)


def run(args: argparse.Namespace) -> int:
    """Carry out a run in its folder, with its record, and return its exit status.

    Raises ValueError, OSError: bad input, in one line; `runs.record.ConfigDiffers` for a folder of another run.
    """
    from runs import engine, record
    from runs.config import build_cfg
    from runs.plan import plan

    cfg = build_cfg(args)
    check_folder(cfg.OUTPUT_DIR)
    engine.check(cfg)
    this = plan(cfg, args)
    this.state()  # a refused run leaves no trace, so this comes before the folder is touched
    this.directory.mkdir(parents=True, exist_ok=True)
    with lock(this.directory / record.LOCK):
        state, note = this.state()
        if note:
            print(f"note: {note}")
        if state == "success" and not rehearsal(args):
            print(f"Finished before, nothing to do: {this.directory} holds this very run (record: success)")
            return 0
        return attempt(this, state, cfg, args)


def attempt(this: Any, state: str, cfg: CfgNode, args: argparse.Namespace) -> int:
    """Start or go on with a run that is not done, put what comes of it on record, and return the exit status."""
    from dassl.utils import setup_logger
    from runs import engine, environment
    from runs.results import cost, save_predictions

    commit = environment.commit()
    if not rehearsal(args):
        # A killed run leaves this record, so all that is known now is in it.
        device = environment.device_name(engine.choose_device(cfg.USE_CUDA))
        this.start(
            cfg.dump(), {"versions": environment.versions(), "commit": commit, "device": device} | engine.facts()
        )
    setup_logger(cfg.OUTPUT_DIR)
    if state in ("running", "preempted", "failed"):
        how = "going on from what it saved" if engine.OURS else "starting again"
        print(f"An earlier attempt is unfinished ({state}): {how}")
    print(f"Arguments: {shlex.join(args.words)}")
    made_by = {"version": environment.project_version(), "commit": commit}
    built: list[Any] = []
    try:
        with stops_on_sigterm(built):
            results = train_and_test(cfg, args, this, built, made_by)
    except KeyboardInterrupt:
        how = "goes on from what was saved last" if engine.OURS else "starts again"
        print(f"Interrupted: the same command {how}", file=sys.stderr)
        return commandline.INTERRUPTED
    except engine.preempted():
        if not rehearsal(args):
            this.preempt(cost(built[0], this.started) if built else {})
        print(f"Stopped by SIGTERM (exit status {PREEMPTED}): the same command goes on here", file=sys.stderr)
        return PREEMPTED
    except Exception as error:
        put_on_record(this, error, None if rehearsal(args) else (cost(built[0], this.started) if built else {}))
        raise
    if not rehearsal(args):
        results |= save_predictions(built[0], this.directory) if results and cfg.TEST.SAVE_PREDICTIONS else {}
        this.succeed({**results, **cost(built[0], this.started)})
    return 0


def put_on_record(this: Any, error: Exception, facts: dict[str, Any] | None) -> None:
    """Add a failure's traceback to the log and, with `facts`, the failure to the record.

    Says so where that is impossible: the failure itself is what must be shown, and it may be a full disk.
    """
    try:
        with (this.directory / "log.txt").open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.write("".join(traceback.format_exception(error)))
        if facts is not None:
            this.fail(commandline.one_line(error), facts)
    except OSError as second:
        print(f"note: the failure is not on record ({commandline.one_line(second)})", file=commandline.console())


def train_and_test(
    cfg: CfgNode, args: argparse.Namespace, this: Any, built: list[Any], made_by: dict[str, Any]
) -> dict[str, Any]:
    """Build, train or load, and test; return the test's results. Puts the trainer into `built` once it exists.

    `made_by` is what checkpoints say of this program; `this` is the run, on whose record the data are put.
    """
    from runs import data, engine, joint, together
    from runs.results import keep_scores, test_results

    trainer = build(cfg, args.deterministic)
    trainer.made_by = made_by
    if cfg.TEST.SAVE_SCORES or cfg.TASK == JOINT:
        keep_scores(trainer)
    engine.ready(trainer)
    built.append(trainer)
    if not rehearsal(args):
        data.record_data(this, trainer, cfg)
    for line in (remarks := engine.remarks() | data.remarks(trainer, cfg) | together.join(trainer)).values():
        print(f"note: {line}")
    trainer.notes = {**getattr(trainer, "notes", {}), **remarks}

    if args.eval_only:
        if args.model_dir:
            with runtime_errors_as_the_users(args.model_dir):
                trainer.load_model(args.model_dir, epoch=args.load_epoch)
            if trained := getattr(trainer, "trained_classes", None):
                this.add({"data": {**this.data, "trained_on": trained}})
            engine.ready(trainer)
        elif trainer.get_model_names():
            raise ValueError(f"--eval-only needs --model-dir: {cfg.TRAINER.NAME} has something to learn")
        base = joint.sides(trainer) if cfg.TASK == JOINT else None
        trainer.test()
        engine.tested(trainer)  # with what is computed once before it
        if base is not None:
            return test_results(trainer) | {"joint": joint.results(trainer, base)}
    elif not args.no_train:
        trainer.train()
    untested = rehearsal(args) or (cfg.TEST.NO_TEST and not args.eval_only)
    return {} if untested else test_results(trainer)


def build(cfg: CfgNode, deterministic: bool) -> Any:
    """Build the trainer, with its data and its model, after everything random and the processors are set."""
    import datasets
    import trainers
    from dassl.engine import build_trainer
    from dassl.utils import set_random_seed
    from runs import engine

    if cfg.SEED >= 0:
        print(f"Setting fixed seed: {cfg.SEED}")
        set_random_seed(cfg.SEED)
    choose_algorithms(deterministic)
    engine.choose_threads(cfg.MODEL.BACKBONE.NAME, engine.choose_device(cfg.USE_CUDA))
    datasets.load_all()
    trainers.load(cfg.TRAINER.NAME)
    with runtime_errors_as_the_users(cfg.MODEL.BACKBONE.NAME):
        return build_trainer(cfg)


def choose_algorithms(deterministic: bool) -> None:
    """Choose algorithms with the same bits at every run, or the fastest on CUDA, where nothing may have run before."""
    import torch

    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS refuses
        torch.backends.cudnn.deterministic = True
        torch.use_deterministic_algorithms(True)


@contextmanager
def stops_on_sigterm(built: list[Any]) -> Iterator[None]:
    """Turn SIGTERM into Preempted: after the step at hand while the trainer in `built` trains, else at once.

    Under another Dassl than this project's it ends the process, as it does by default. Runs that have a thread each are
    stopped by `runs.together`.
    """
    from runs import engine

    if not engine.OURS or threading.current_thread() is not threading.main_thread():
        yield
        return
    Preempted = engine.preempted()

    def stop(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # some send it twice, to the process and to its group
        if not built:
            raise Preempted
        built[0].request_stop()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is stop:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def runtime_errors_as_the_users(source: str) -> Iterator[None]:
    """Turn a RuntimeError while a model is built or loaded (a failed download, unfit weights) into ValueError."""
    try:
        yield
    except RuntimeError as error:
        raise ValueError(f"{source}: {error}") from error
