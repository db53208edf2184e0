"""Records as runs would leave them, in the folders of the grid."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reporting.cells import Cells
from reporting.changes import plain
from reporting.command import defaults
from reporting.load.gather import gather
from runs import record
from runs.protocols import STEPS, Run, default_config

TASKS = {"base2new": "B2N", "xd": "CD", "fewshot": "FS", "joint": "JOINT"}


@dataclass
class Runs:
    """Writes hand-made records under one folder of runs."""

    output: Path
    count: int = 0
    ids: dict[str, str] = field(default_factory=dict)

    def add(
        self,
        protocol: str,
        dataset: str,
        part: str,
        accuracy: float,
        method: str = "MMRL",
        seed: int = 1,
        shots: int = 16,
        source: str = "",
        changes: dict[str, Any] | None = None,
        hidden: dict[str, Any] | None = None,
        folder: str = "",
        **facts: Any,
    ) -> Path:
        """One finished run (or what `facts` say of it); returns its folder.

        `changes` show in its name, `hidden` settings do not. A test run names the model of the training run before it.
        """
        source = source or dataset
        step = {"base": "base2new_train", "new": "base2new_test"}.get(part) or {
            "xd": "xd_train" if dataset == source else "xd_test",
            "fewshot": "fewshot",
            "joint": "joint_test",
        }[protocol]
        cfg = default_config(protocol, source, method, shots)
        swept = tuple(sorted((key, str(value)) for key, value in (changes or {}).items()))
        run = Run(step, dataset, method, cfg, shots, seed, swept)
        settings = plain(method, dataset, cfg, protocol)
        assert settings, (method, dataset, cfg)
        trained = f"{STEPS[STEPS[step].tests or step].folder}/{source}/" + run.name.split(f"/{dataset}/", 1)[1]
        self.count += 1
        run_id = f"id{self.count}"
        self.ids.setdefault(run.name, run_id)
        config = {
            **settings,
            "SEED": seed,
            "DATASET.NUM_SHOTS": shots,
            "DATASET.SUBSAMPLE_CLASSES": part,
            **(changes or {}),
            **(hidden or {}),
            "run.mode": "eval" if STEPS[step].tests else "train",
        }
        if STEPS[step].tests:
            config |= {"run.model": self.ids.get(trained, "gone"), "run.load_epoch": None}
        content = {
            "status": "success",
            "method": method,
            "dataset": settings["DATASET.NAME"],
            "dataset_config": dataset,
            "protocol": TASKS[protocol],
            "subsample": part,
            "shots": shots,
            "seed": seed,
            "mode": config["run.mode"],
            "model_dir": None,
            "source": plain(method, source, cfg, protocol)["DATASET.NAME"],  # type: ignore[index]
            "source_config": source,
            "settings": cfg,
            "run_id": run_id,
            "accuracy": accuracy,
            "device": "cpu",
            "config": config,
        }
        place = self.output / (folder or run.name)
        place.mkdir(parents=True)
        record.write(place, {key: value for key, value in {**content, **facts}.items() if value != "drop"})
        return place

    def pair(self, dataset: str, base: float, new: float, **more: Any) -> None:
        """The two runs of base to new."""
        self.add("base2new", dataset, "base", base, **more)
        self.add("base2new", dataset, "new", new, **more)

    def cells(self, *seeds: int) -> Cells:
        """What a report makes of the records."""
        return Cells(gather([self.output]).results, seeds or (1, 2, 3), defaults())


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """An empty folder of runs, and how to fill it."""
    output = tmp_path / "output"
    output.mkdir()
    return Runs(output)
