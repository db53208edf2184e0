"""The configuration of a run, resolved from its sources and checked key by key.

In rising order: Dassl's and the methods' defaults; the dataset's YAML; the method's YAML; the per-dataset
overrides in `datasets.yaml` beside the method's YAML; for `--eval-only --model-dir D` the method's settings recorded
in `D/config.yaml` (so that a model is built as it was trained); the command line (`options`). Before each YAML come
the files that it builds on (`trainers.shared.config_files`). What `INPUT` says of the images is the checkpoint's
(`trainers.shared.images`), unless the command line says otherwise. How their files are read (INPUT.READ) goes by the
data: a user's own are turned upright, others stay as the CoOp family reads them. No value is out of bounds (`bounds`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from common.names import suggest
from dassl.config import get_cfg_default
from runs import bounds
from runs.options import coerce, command_line, refuse_two_values
from runs.protocols import JOINT, STEPS, check_name, training_task
from trainers.shared.config_files import read_yaml, with_bases
from trainers.shared.images import follow_checkpoint

OVERRIDES = "datasets.yaml"
RESOLVED = "config.yaml"
TASKS = {training_task(step.task) for step in STEPS.values()}
# Where a run stands and how it talks: these cannot change its result, so they are no part of what the run is.
INCIDENTAL = frozenset(
    {
        "OUTPUT_DIR",
        "RESUME",
        "DATASET.ROOT",
        "VERBOSE",
        "DATALOADER.CACHE_GB",
        "DATALOADER.CHECK_IMAGES",
        "FEATURES.FOLDER",
        "FEATURES.MAX_GB",
        "INPUT.MAX_MEGAPIXELS",
        "TRAIN.LOGGER",
        "TRAIN.PRINT_FREQ",
        "TRAIN.RESUME_FREQ",
        "TRAINER.CUDA_GRAPHS",
        "TEST.COMPUTE_CMAT",
        "TEST.PER_CLASS_RESULT",
        "TEST.SAVE_PREDICTIONS",
        "TEST.SAVE_SCORES",
    }
)


def build_cfg(args: argparse.Namespace) -> CfgNode:
    """Resolve the frozen configuration of the run that `args` (train.py's arguments) describe.

    Raises:
        FileNotFoundError: a configuration file is missing; names the nearest one in its folder.
        ValueError: an unknown key, dataset or trainer, a value of the wrong type or out of bounds, a key with two
            values on the command line, a file that contradicts the checkpoint, a broken YAML file.
    """
    import datasets
    import trainers

    files = [file for path in (args.dataset_config_file, args.config_file) if path for file in with_bases(path)]
    given = [entry for one in command_line(args) for entry in _with_plugins(*one)]
    name = next(
        (value for key, value, _ in given if key == "TRAINER.NAME"), trainer_named_in(tree for _, tree in files)
    )
    given += [(key, value, f"trainer {name}") for key, value in trainers.OF_ALIAS.get(name, {}).items()]
    pairs = [(key, value) for key, value, _ in given]
    cfg = default_cfg(name)
    cfg.INPUT.READ = ""  # until something says it
    for path, tree in files:
        merge(cfg, tree, path)
    refuse_two_values(given, dict(flatten(cfg)), trainers.ALIASES)

    chosen = cfg.clone()  # dataset, task and trainer decide what else applies, and the command line decides on them
    merge_pairs(chosen, pairs)
    chosen.TRAINER.NAME = trainers.ALIASES.get(chosen.TRAINER.NAME, chosen.TRAINER.NAME)
    _check_name("dataset", chosen.DATASET.NAME, datasets.NAMES, "--dataset-config-file")
    if chosen.TRAINER.NAME not in trainers.METHODS:
        _check_name("trainer", chosen.TRAINER.NAME, {*trainers.METHODS, *trainers.shared.foreign.find()}, "--trainer")

    if args.config_file and chosen.TASK != "CD":
        # A cross-dataset run has one setting for the source and every target.
        beside = Path(args.config_file).with_name(OVERRIDES)
        for path, overrides in _overrides(beside, chosen.DATASET.NAME, training_task(chosen.TASK), datasets.NAMES):
            merge(cfg, overrides, f"{path}: {chosen.DATASET.NAME}")
            files.append((path, overrides))
    if args.eval_only and args.model_dir:
        _merge_recorded(cfg, Path(args.model_dir) / RESOLVED, chosen.TRAINER.NAME)
    merge_pairs(cfg, pairs)
    follow_checkpoint(cfg, {key for key, _ in pairs}, files)
    cfg.INPUT.READ = cfg.INPUT.READ or reading_of(chosen.DATASET.NAME)
    cfg.TRAINER.NAME = chosen.TRAINER.NAME
    trainers.plugins.check(cfg)
    bounds.check(dict(flatten(cfg)))
    if cfg.TASK == JOINT and (cfg.DATASET.SUBSAMPLE_CLASSES != "all" or not args.eval_only):
        raise ValueError(
            f"TASK {JOINT} tests a model of base classes on all of them: give --eval-only --model-dir DIR "
            "DATASET.SUBSAMPLE_CLASSES all (scripts/b2n/joint_test.sh)"
        )
    if cfg.OFFICIAL_STREAM and trainers.is_foreign(cfg.TRAINER.NAME):
        raise ValueError(f"--official-stream: {cfg.TRAINER.NAME} draws what it draws, so leave it out")
    if cfg.TRAINER.PLUGINS and trainers.is_foreign(cfg.TRAINER.NAME):
        raise ValueError(f"TRAINER.PLUGINS: {cfg.TRAINER.NAME} is not one of this project's methods, so leave it out")
    if cfg.FEATURES.ONCE and trainers.is_foreign(cfg.TRAINER.NAME):
        raise ValueError(f"FEATURES.ONCE: {cfg.TRAINER.NAME} is not one of this project's methods, so leave it out")
    if cfg.OFFICIAL_STREAM is None:
        cfg.OFFICIAL_STREAM = trainers.draws_as_public_code(cfg) and cfg.SEED >= 0 and not args.eval_only
    cfg.freeze()
    return cfg


def _with_plugins(key: str, value: Any, how: str) -> Iterator[tuple[str, Any, str]]:
    """Yield an entry of the command line; a trainer such as ``CoOp+DePT`` as a trainer and its plug-ins."""
    from trainers.plugins import split_title

    method, names = split_title(value) if key == "TRAINER.NAME" else (value, [])
    yield key, method, how
    if names:
        yield "TRAINER.PLUGINS", names, how


def reading_of(dataset: str) -> str:
    """Return how the images of a data set are read (INPUT.READ) unless something else is asked for."""
    import datasets

    return "upright" if dataset in datasets.OWN else "stored"


def default_cfg(trainer: str = "") -> CfgNode:
    """Return every key with its default, those of a trainer that is not ours included."""
    import trainers

    cfg = get_cfg_default()
    trainers.extend_cfg(cfg, trainer)
    return cfg


def trainer_named_in(trees: Iterable[dict[str, Any]]) -> str:
    """Return the trainer that the last of these configurations names, or ""."""
    groups = [tree["TRAINER"] for tree in trees if isinstance(tree.get("TRAINER"), dict)]
    return str(next((group["NAME"] for group in reversed(groups) if group.get("NAME")), ""))


def get(cfg: CfgNode, key: str) -> Any:
    """Return the value of the dotted `key`. Raises KeyError when there is none."""
    node = cfg
    for part in key.split("."):
        node = node[part]
    return node


def flatten(cfg: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all leaves of a configuration, or of the mapping in its file, as (dotted key, value)."""
    for key, value in cfg.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def merge(
    cfg: CfgNode, tree: dict[str, Any], source: str | Path, prefix: str = "", root: CfgNode | None = None
) -> None:
    """Merge a nested mapping into `cfg` in place, strictly.

    Raises ValueError: unknown key (with the nearest valid one) or wrong type; `source` is named.
    """
    root = cfg if root is None else root
    for key, value in tree.items():
        full = f"{prefix}{key}"
        if key not in cfg:
            raise _unknown(full, root, source)
        if isinstance(cfg[key], CfgNode):
            if not isinstance(value, dict):
                raise ValueError(f"{source}: {full} is a group of keys and cannot be set to {value!r}")
            merge(cfg[key], value, source, f"{full}.", root)
        else:
            cfg[key] = coerce(value, cfg[key], f"{source}: {full}")


def merge_pairs(cfg: CfgNode, pairs: Iterable[tuple[str, Any]], source: str = "command line") -> None:
    """Merge (dotted key, value) pairs into `cfg` in place, as strictly as `merge`."""
    for full, value in pairs:
        *parents, last = full.split(".")
        node = cfg
        for part in parents:
            if not isinstance(node.get(part), CfgNode):
                raise _unknown(full, cfg, source)
            node = node[part]
        merge(node, {last: value}, source, "".join(f"{part}." for part in parents), cfg)


def identity(cfg: CfgNode) -> dict[str, Any]:
    """Return what makes this run this run: every setting that can change its result, flat and JSON-ready.

    Settings of other methods do not count, so a method added later leaves the identity of old runs alone.
    """
    own = own_keys(cfg, cfg.TRAINER.NAME)
    settings: dict[str, Any] = {}
    for key, value in flatten(cfg):
        group, *rest = key.split(".")
        other_method = group == "TRAINER" and key != "TRAINER.NAME" and rest[0] not in own
        if key not in INCIDENTAL and not other_method:
            settings[key] = list(value) if isinstance(value, tuple) else value
    return settings


def identity_defaults(cfg: CfgNode) -> dict[str, Any]:
    """Return the keys of `identity` with their defaults, which hold for a record that is older than a key."""
    defaults = default_cfg(cfg.TRAINER.NAME)
    defaults.TRAINER.NAME, defaults.TRAINER.PLUGINS = cfg.TRAINER.NAME, cfg.TRAINER.PLUGINS
    defaults.OFFICIAL_STREAM = False  # so it was before there was a choice
    return identity(defaults)


def own_keys(cfg: CfgNode, trainer: str) -> list[str]:
    """Return the keys under TRAINER that a run reads: its row's node (`TipAdapterF`: `TIPADAPTER`) and those of its
    plug-ins; of a trainer that is not ours any.
    """
    import trainers

    if trainer in trainers.METHODS:
        return [*filter(None, [trainers.METHODS[trainer].node]), *trainers.plugins.nodes_of(cfg)]
    return [key for key in cfg.TRAINER if key != "NAME"]


def _unknown(key: str, cfg: CfgNode, source: str | Path) -> ValueError:
    return ValueError(f"{source}: unknown key {key}; {suggest(key, (name for name, _ in flatten(cfg)))}")


def _check_name(what: str, name: str, known: Iterable[str], argument: str) -> None:
    if not name:
        raise ValueError(f"no {what} given: use {argument}")
    check_name(what, name, known)


def _overrides(path: Path, dataset: str, task: str, known: Iterable[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return what the file of overrides and its bases have for a dataset, as (path, content), the weakest first.

    What stands there under a `TASK` (`FS: {...}`) counts in runs of that task alone, over the rest.
    """
    if not path.is_file():
        return []
    found = []
    for source, content in with_bases(path):
        for name, tree in content.items():
            if name not in known:
                raise ValueError(f"{source}: unknown dataset {name}; {suggest(str(name), known)}")
            if not isinstance(tree, dict) or not all(isinstance(tree.get(one, {}), dict) for one in TASKS):
                raise ValueError(f"{source}: {name} must hold a mapping of configuration keys")
        tree = content.get(dataset, {})
        always = {key: value for key, value in tree.items() if key not in TASKS}
        found += [(source, part) for part in (always, tree.get(task)) if part]
    return found


def _merge_recorded(cfg: CfgNode, path: Path, trainer: str) -> None:
    if not path.is_file():
        return  # a checkpoint of another repository; its settings come from the YAML and the command line
    tree = read_yaml(path)
    recorded = tree.get("TRAINER")
    if not isinstance(recorded, dict):
        raise ValueError(f"{path} names no TRAINER: it is not the configuration of a run")
    if recorded.get("NAME") != trainer:
        raise ValueError(f"{path.parent} holds a {recorded.get('NAME')} model, not one of {trainer}")
    cfg.TRAINER.PLUGINS = recorded.get("PLUGINS", [])
    settings = {key: recorded[key] for key in own_keys(cfg, trainer) if key in recorded}
    merge(cfg.TRAINER, settings, path, "TRAINER.", cfg)
    # The model's images were read so, by choice or before there was one; else each data set is read as its kind is.
    read = (tree.get("INPUT") or {}).get("READ", "stored")
    if read != reading_of((tree.get("DATASET") or {}).get("NAME", "")):
        merge_pairs(cfg, [("INPUT.READ", read)], str(path))
