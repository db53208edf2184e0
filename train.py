"""Train and test one run: one method on one dataset with one seed.

    python train.py --root DATA --output-dir OUTPUT --seed 1 --trainer MMRL \\
        --dataset-config-file configs/datasets/digits.yaml \\
        --config-file configs/trainers/MMRL/embedded.yaml DATASET.NUM_SHOTS 16

A finished run is not repeated, an unfinished one goes on where it stopped, and a run of another configuration in
the same folder is refused with the settings that differ.

Exit status: 0 done, 1 error, 2 wrong arguments, 75 stopped by SIGTERM and to be gone on with, 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.text import check_folder, print_anything

if TYPE_CHECKING:
    from yacs.config import CfgNode

# What a user can mend: shown as one line. Everything else is a fault of the program and shows its traceback.
USER_ERRORS = (ValueError, KeyError, OSError, FloatingPointError)
INTERRUPTED = 130
PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: try again


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; the arguments are CoOp's."""
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--root", default="", metavar="DIR", help="folder of all datasets")
    add("--output-dir", default="", metavar="DIR", help="the run's folder: log, checkpoints, configuration, record")
    add("--resume", default="", metavar="DIR", help="go on from this folder's checkpoints (default: the run's own)")
    add("--seed", type=int, default=None, metavar="N", help="seed of everything random, 0 included (negative: none)")
    add("--source-domains", nargs="+", metavar="NAME", help="domains to train on, for datasets that have them")
    add("--target-domains", nargs="+", metavar="NAME", help="domains to test on, for datasets that have them")
    add("--transforms", nargs="+", metavar="NAME", help="image transforms in training, in order")
    add("--config-file", default="", metavar="FILE", help="the method's settings (configs/trainers/METHOD/*.yaml)")
    add("--dataset-config-file", default="", metavar="FILE", help="the dataset (configs/datasets/*.yaml)")
    add("--trainer", default="", metavar="NAME", help="the method, such as MMRL or ZeroshotCLIP")
    add(
        "--backbone",
        default="",
        metavar="NAME",
        help="CLIP: ViT-B/16, open_clip:ARCH/PRETRAINED, hf:OWNER/NAME, or a weights file",
    )
    add("--head", default="", metavar="NAME", help="head on the backbone, for trainers that have one")
    add("--eval-only", action="store_true", help="test only")
    add("--model-dir", default="", metavar="DIR", help="with --eval-only: folder of the run whose model is tested")
    add("--load-epoch", type=int, metavar="N", help="with --model-dir: the epoch to load (default: best, else last)")
    add("--deterministic", action="store_true", help="the same bits at every run on a machine (docs/runs.md)")
    add(
        "--official-stream",
        action="store_true",
        default=None,
        help="insist on the public code's tensors, order and crops of this seed (docs/coming-from-coop.md)",
    )
    add("--no-train", action="store_true", help="build data and model, and stop: nothing is trained or recorded")
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="any setting, last on the line: OPTIM.LR 0.002 ...")
    args = parser.parse_args(argv)
    if args.model_dir and not args.eval_only:
        parser.error("--model-dir needs --eval-only; to go on with a run's training, use --resume")
    if args.load_epoch is not None and not args.model_dir:
        parser.error("--load-epoch needs --model-dir")
    if args.official_stream and args.eval_only:
        parser.error("--official-stream is of training: leave it out with --eval-only")
    if args.deterministic and (args.seed is None or args.seed < 0):
        parser.error("--deterministic needs --seed")
    return args


def describe(cfg: CfgNode, args: argparse.Namespace) -> dict[str, Any]:
    """What the record says of the run before it starts."""
    from runs.record import read

    this = {"dataset": cfg.DATASET.NAME, "dataset_config": Path(args.dataset_config_file).stem or None}
    trained = (read(args.model_dir) or {}) if args.model_dir else this
    return {
        "method": cfg.TRAINER.NAME,
        **this,
        "protocol": cfg.TASK,
        "subsample": cfg.DATASET.SUBSAMPLE_CLASSES,
        "shots": cfg.DATASET.NUM_SHOTS,
        "seed": cfg.SEED,
        "split": cfg.TEST.SPLIT,
        "mode": "eval" if args.eval_only else "train",
        "model_dir": args.model_dir or None,
        "source": trained.get("dataset"),
        "source_config": trained.get("dataset_config"),
        "backbone": cfg.MODEL.BACKBONE.NAME,
        "settings": Path(args.config_file).stem or None,
    }


def identify(cfg: CfgNode, args: argparse.Namespace) -> dict[str, Any]:
    """Everything that can change the result: the settings, what is done, and with which model.

    Raises:
        FileNotFoundError: `--model-dir` or `--resume` is no folder.
        ValueError: the run in `--model-dir` is not finished, and no epoch of it was asked for; or it is damaged.
    """
    from runs import config, engine
    from runs.open import finished_record

    for argument, folder in (("--model-dir", args.model_dir), ("--resume", args.resume)):
        if folder and not Path(folder).is_dir():
            raise FileNotFoundError(f"{argument}: there is no folder {folder}")
    identity = config.identity(cfg) | {"run.mode": "eval" if args.eval_only else "train"}
    if args.deterministic:
        identity["run.deterministic"] = True
    identity |= {f"run.{key}": value for key, value in engine.facts().items()}
    if args.model_dir:
        trained = finished_record(args.model_dir, args.load_epoch)
        # A run of ours is known by its id, wherever it is moved; a folder of another repository by its path.
        identity["run.model"] = trained["run_id"] if trained else args.model_dir
        identity["run.load_epoch"] = args.load_epoch
    return identity


def execute(
    cfg: CfgNode, args: argparse.Namespace, this: Any, built: list[Any], made_by: dict[str, Any]
) -> dict[str, Any]:
    """Build, train or load, and test. Puts the trainer into `built` once it exists. Returns the test's results.

    `made_by` is what checkpoints say of this program; `this` is the run, on whose record the data are put.
    """
    import datasets
    import trainers
    from dassl.engine import build_trainer
    from dassl.utils import set_random_seed
    from runs import data, engine
    from runs.results import test_results
    from runs.threads import choose_threads

    if cfg.SEED >= 0:
        print(f"Setting fixed seed: {cfg.SEED}")
        set_random_seed(cfg.SEED)
    choose_algorithms(args.deterministic)
    choose_threads(cfg.MODEL.BACKBONE.NAME, engine.choose_device(cfg.USE_CUDA))
    datasets.load_all()
    trainers.load(cfg.TRAINER.NAME)
    with runtime_errors_as_the_users(cfg.MODEL.BACKBONE.NAME):
        trainer = build_trainer(cfg)
    trainer.made_by = made_by
    engine.ready(trainer)
    built.append(trainer)
    if not rehearsal(args):
        data.settle(this, trainer, cfg)
    for line in (remarks := engine.remarks() | data.remarks(trainer, cfg)).values():
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
        trainer.test()
        engine.tested(trainer)  # with what is computed once before it
    elif not args.no_train:
        trainer.train()
    untested = rehearsal(args) or (cfg.TEST.NO_TEST and not args.eval_only)
    return {} if untested else test_results(trainer)


def choose_algorithms(deterministic: bool) -> None:
    """The same bits at every run, or what is fastest on CUDA. Nothing may have run on CUDA before."""
    import torch

    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS refuses
        torch.backends.cudnn.deterministic = True
        torch.use_deterministic_algorithms(True)


@contextmanager
def stops_on_sigterm(built: list[Any]) -> Iterator[None]:
    """Turn SIGTERM into Preempted: after the step at hand while the trainer in `built` trains, else at once.

    Under another Dassl than this project's it ends the process, as it does by default.
    """
    from runs import engine

    if not engine.OURS:
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
    """While a model is built or loaded, a RuntimeError is a failed download or weights that do not fit."""
    try:
        yield
    except RuntimeError as error:
        raise ValueError(f"{source}: {error}") from error


def one_line(error: BaseException) -> str:
    """The error's text on one line."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if "\nOriginal Traceback" in text:  # of a loader worker: torch puts its whole traceback into the text
        text = text.strip().rsplit("\n", 1)[-1].partition(": ")[2]
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        text += "; make room, and the same command goes on"
    return " ".join(text.split()) or type(error).__name__


def plan(cfg: CfgNode, args: argparse.Namespace, seen: dict[str, Any] | None = None) -> Any:
    """The run (`runs.record.Run`) that `args` describe; `seen` is what several share of their data."""
    from runs import config, data, record

    identity, defaults = identify(cfg, args), config.identity_defaults(cfg)
    return record.Run(cfg.OUTPUT_DIR, identity, describe(cfg, args), defaults, data.Sight(cfg, seen))


def run(cfg: CfgNode, args: argparse.Namespace) -> int:
    """Carry out the run in its folder, with its record. Returns the exit status."""
    from runs import engine, files, record

    check_folder(cfg.OUTPUT_DIR)
    engine.check(cfg)
    this = plan(cfg, args)
    this.state()  # a refused run leaves no trace, so this comes before the folder is touched
    this.directory.mkdir(parents=True, exist_ok=True)
    with files.lock(this.directory / record.LOCK):
        state, note = this.state()
        if note:
            print(f"note: {note}")
        if state == "success" and not rehearsal(args):
            print(f"Finished before, nothing to do: {this.directory} holds this very run (record: success)")
            return 0
        return attempt(this, state, cfg, args)


def rehearsal(args: argparse.Namespace) -> bool:
    """Whether the run only builds data and model (`--no-train`), which is not put on record."""
    return args.no_train and not args.eval_only


def attempt(this: Any, state: str, cfg: CfgNode, args: argparse.Namespace) -> int:
    """Start or go on with a run that is not done, and put what comes of it on record."""
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
    print(f"Arguments: {shlex.join(sys.argv[1:])}")
    built: list[Any] = []
    try:
        with stops_on_sigterm(built):
            results = execute(cfg, args, this, built, {"version": environment.project_version(), "commit": commit})
    except KeyboardInterrupt:
        how = "goes on from what was saved last" if engine.OURS else "starts again"
        print(f"Interrupted: the same command {how}", file=sys.stderr)
        return INTERRUPTED
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
            this.fail(one_line(error), facts)
    except OSError as second:
        print(f"note: the failure is not on record ({one_line(second)})", file=console())


def console() -> Any:
    """The terminal's side of stderr: the log may be what cannot be written."""
    return getattr(sys.stderr, "console", sys.stderr)


def main() -> int:
    """The command line's whole course, errors included. Returns the exit status."""
    print_anything()
    args = parse_args()
    try:
        from runs.config import build_cfg

        return run(build_cfg(args), args)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if not isinstance(error, USER_ERRORS) and type(error).__name__ != "OutOfMemoryError":
            raise
        print(f"error: {one_line(error)}", file=console())
        return 1


if __name__ == "__main__":
    sys.exit(main())
