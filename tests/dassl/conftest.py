"""A generated dataset of coloured squares and a tiny network, so that trainers run in about a second."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn
from yacs.config import CfgNode

from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from dassl.modeling import BACKBONE_REGISTRY, Backbone

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


@DATASET_REGISTRY.register()
class Squares(DatasetBase):
    """Three colours; 6 training, 2 validation and 4 test images each, drawn on first use."""

    def __init__(self, cfg: CfgNode) -> None:
        root = Path(cfg.DATASET.ROOT) / "squares"
        splits = {name: self._images(root / name, n) for name, n in (("train", 6), ("val", 2), ("test", 4))}
        train = self.generate_fewshot_dataset(splits["train"], num_shots=cfg.DATASET.NUM_SHOTS)
        super().__init__(train_x=train, train_u=splits["train"], val=splits["val"], test=splits["test"])

    @staticmethod
    def _images(folder: Path, count: int) -> list[Datum]:
        folder.mkdir(parents=True, exist_ok=True)
        items = []
        for label, (name, colour) in enumerate(COLOURS.items()):
            for number in range(count):
                path = folder / f"{name}{number}.png"
                if not path.is_file():
                    Image.new("RGB", (12, 10), tuple(c + 5 * number for c in colour)).save(path)
                items.append(Datum(str(path), label, domain=number % 2, classname=name))
        return items


class TinyBackbone(Backbone):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2))
        self._out_features = 4

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


@BACKBONE_REGISTRY.register()
def tiny(pretrained: bool = False) -> TinyBackbone:
    return TinyBackbone()


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def cfg(data_root: Path, tmp_path: Path) -> CfgNode:
    """Vanilla training of the tiny network for 4 epochs of 3 batches."""
    cfg = get_cfg_default()
    cfg.merge_from_list(
        [
            *("OUTPUT_DIR", str(tmp_path / "out"), "USE_CUDA", False, "DATASET.ROOT", str(data_root)),
            *("DATASET.NAME", "Squares", "TRAINER.NAME", "Vanilla", "MODEL.BACKBONE.NAME", "tiny"),
            *("INPUT.SIZE", (8, 8), "INPUT.TRANSFORMS", ("random_resized_crop", "random_flip", "normalize")),
            *("DATALOADER.NUM_WORKERS", 0, "DATALOADER.TRAIN_X.BATCH_SIZE", 5, "OPTIM.MAX_EPOCH", 4),
            *("OPTIM.LR", 0.01, "OPTIM.LR_SCHEDULER", "cosine", "OPTIM.WARMUP_EPOCH", 1),
            *("OPTIM.WARMUP_TYPE", "constant"),
        ]
    )
    return cfg
