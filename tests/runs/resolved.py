"""What every method file resolves to on every data set, pinned as digests in tests/data/resolved/.

python -m tests.runs.resolved                      pin anew, after a change that is meant to change settings
python -m tests.runs.resolved CoOp/rn50 eurosat    print one configuration, to compare before and after a change
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from yacs.config import CfgNode

import train
from runs import config

ROOT = Path(__file__).resolve().parents[2]
TRAINERS = ROOT / "configs/trainers"
BASES = TRAINERS / "_base"
PINNED = ROOT / "tests/data/resolved"


def method_files() -> list[Path]:
    """Return the configurations that a run can take, without those that others build on and those per data set."""
    return [path for path in sorted(TRAINERS.rglob("*.yaml")) if path.parent != BASES and path.stem != "datasets"]


def dataset_names() -> list[str]:
    """Return the data sets that have a configuration."""
    return sorted(path.stem for path in (ROOT / "configs/datasets").glob("*.yaml"))


def name_of(path: Path) -> str:
    """Return how a method file is called here, such as ``CoOp/rn50``."""
    return f"{path.parent.name}/{path.stem}"


def resolve(method: str, stem: str, dataset: str, *options: str) -> CfgNode:
    """Return the configuration of a method's file on a data set."""
    words = ["--config-file", f"{TRAINERS}/{method}/{stem}.yaml", "--trainer", method]
    words += ["--dataset-config-file", f"{ROOT}/configs/datasets/{dataset}.yaml"]
    return config.build_cfg(train.parse_args([*words, *options]))


def settings(name: str, dataset: str) -> dict[str, str]:
    """Return all settings of a run by key, as Python writes them, but for those of other methods."""
    cfg = resolve(*name.split("/"), dataset, "--seed", "1")
    own = config.own_keys(cfg, cfg.TRAINER.NAME)
    others = tuple(f"TRAINER.{key}." for key in cfg.TRAINER if key not in own)
    ordinary = () if cfg.TRAINER.PLUGINS else ("TRAINER.PLUGINS",)
    return {k: repr(v) for k, v in config.flatten(cfg) if not k.startswith(others) and k not in ordinary}


def digest(name: str, dataset: str) -> str:
    """Return eight hexadecimal digits that stand for all settings of a run."""
    text = json.dumps(settings(name, dataset), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def pinned() -> dict[str, dict[str, str]]:
    """Return the pinned digests by method file and data set."""
    found = {}
    for path in sorted(PINNED.glob("*.json")):
        rows = json.loads(path.read_text(encoding="utf-8"))
        names = rows.pop("data sets").split()
        found |= {f"{path.stem}/{cfg}": dict(zip(names, row.split(), strict=True)) for cfg, row in rows.items()}
    return found


def pin() -> None:
    """Write the digests of all method files on all data sets, one file a method."""
    PINNED.mkdir(exist_ok=True)
    rows: dict[str, dict[str, str]] = {}
    for path in method_files():
        row = rows.setdefault(path.parent.name, {"data sets": " ".join(dataset_names())})
        row[path.stem] = " ".join(digest(name_of(path), dataset) for dataset in dataset_names())
    for method, content in rows.items():
        text = json.dumps(content, indent=0, allow_nan=False)
        (PINNED / f"{method}.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:]:
        print("\n".join(f"{key}: {value}" for key, value in settings(*sys.argv[1:]).items()))
    else:
        pin()
