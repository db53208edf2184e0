"""A run and the images that its record speaks of: it is not repeated, gone on with, or reported on others."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from runs import record
from trainers.shared import lists
from trainers.shared.lists import Lists

FEW_IMAGES = 30
BACK = "put the data back as they were"


class DataCheck:
    """Checks whether the data of finished runs are those of a configuration now. Torch is not needed.

    Runs of one grid share what was seen: `seen` holds the lists by their settings.
    """

    def __init__(self, cfg: Any, seen: dict[str, Lists] | None = None) -> None:
        self.cfg = cfg
        self.seen = {} if seen is None else seen

    def __call__(self, directory: Path, content: Mapping[str, Any]) -> str:
        """Compare with a run's record. Returns a line to print, or "". Raises DataDiffers with the difference."""
        if "data" not in content:
            return f"{directory} was run before records told the data, so that they cannot be compared"
        if not Path(self.cfg.DATASET.ROOT).expanduser().is_dir():
            return f"{self.cfg.DATASET.ROOT} is not there, so that the data cannot be compared with those of the run"
        try:
            now = self.lists()
        except (ValueError, OSError) as error:
            raise record.DataDiffers(f"{directory} is finished, and its data have changed since: {error}") from error
        compare(directory, content["data"], now)
        return ""

    def lists(self) -> Lists:
        """Return the lists as they are now; raises the loader's errors."""
        key = f"{self.cfg.SEED} {self.cfg.DATASET}"
        if key not in self.seen:
            import datasets
            from dassl.data.datasets import build_dataset

            datasets.load(self.cfg.DATASET.NAME)
            with redirect_stdout(StringIO()):  # the run's log has said it all
                self.seen[key] = lists.lists_of(build_dataset(self.cfg))
        return self.seen[key]


def record_data(run: record.Run, trainer: Any, cfg: Any) -> None:
    """Put the data of a trainer on the run's record, if they are those that an earlier attempt was trained on.

    Raises DataDiffers with the difference, for the run's folder and for the one that it resumes from.
    """
    now = getattr(trainer, "lists", None) or lists.lists_of(trainer.dm.dataset)
    if run.data:
        compare(run.directory, run.data, now)
    told = (record.read(cfg.RESUME) or {}).get("data") if cfg.RESUME else None
    if told:
        compare(cfg.RESUME, told, now, f"{BACK}, or train from the start")
    now.save(run.directory)
    run.add({"data": now.facts})


def compare(
    directory: str | Path,
    told: Mapping[str, Any],
    now: Lists,
    remedy: str = f"{BACK}, choose another output folder, or remove this one",
) -> None:
    """Raise DataDiffers with what has changed since the run in `directory`, whose record tells its data."""
    changed = lists.difference(lists.read(directory, told), told, now)
    if changed:
        raise record.DataDiffers(f"{directory} holds a run on other data: {changed}; {remedy}")


def remarks(trainer: Any, cfg: Any) -> dict[str, str]:
    """Return what a reader of the result should know of its data, by kind: a half of two classes, a small test."""
    dataset = trainer.dm.dataset
    said = {}
    if cfg.DATASET.SUBSAMPLE_CLASSES != "all" and dataset.num_classes == 2:
        said["small_half"] = (
            f"the {cfg.DATASET.SUBSAMPLE_CLASSES} half has two classes only, of which guessing gets one in two right"
        )
    tested = dataset.val if cfg.TEST.SPLIT == "val" and dataset.val else dataset.test
    if len(tested) < FEW_IMAGES:
        said["small_test"] = f"{lists.counted(len(tested), 'image')} tested: one is {100 / len(tested):.1f} points"
    return said
