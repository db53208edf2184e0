"""CLAP and ZS-LP: alpha, the stored features, what the passes draw, and the two names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import train
from clip.model import CLIP
from runs import scripts
from runs.config import build_cfg
from trainers import clap
from trainers.clap import AdapterModel
from trainers.shared.features import Features

ROOT = Path(train.__file__).parent


def test_alpha_is_each_classs_mean_probability_however_many_features_at_once(monkeypatch):
    """And zero for a class without images."""
    base = torch.randn(4, 62)
    model = AdapterModel(CLIP(8, 16, 1, 64, 8, 77, 62, 64, 1, 1), list("abcd"), base, held=True)
    features = Features(torch.randn(11, 62), torch.tensor([0, 1, 3, 1, 0, 3, 3, 1, 1, 0, 3]))
    monkeypatch.setattr(clap, "ROWS", 3)
    model.measure_alpha(features)
    p = model.scores(features.values, torch.nn.functional.normalize(base, dim=-1)).softmax(dim=1)
    wanted = [p[features.labels == c, c].mean() if c != 2 else torch.tensor(0.0) for c in range(4)]
    torch.testing.assert_close(model.alpha, torch.stack(wanted))


@pytest.mark.parametrize(("constraint", "batch", "steps"), [("l2", 8, 2), ("none", 64, 1)])
def test_steps_take_stored_views_and_the_passes_draw_as_the_release(constraint, batch, steps, make_trainer):
    """As many steps in an epoch as the 20 images fill; the passes end where ``official_draws`` says."""
    options = ["TRAINER.ADAPTER.CONSTRAINT", constraint, "DATALOADER.TRAIN_X.BATCH_SIZE", batch]
    trainer = make_trainer("ADAPTER", *options, "OFFICIAL_STREAM", True, "OPTIM.MAX_EPOCH", 2, "TEST.NO_TEST", True)
    wanted, found, seen = torch.get_rng_state(), [], []
    store, step = trainer.store_features, trainer.forward_backward
    trainer.store_features = lambda: (store(), found.append(torch.get_rng_state()))
    trainer.forward_backward = lambda batch: (seen.append(batch), step(batch))[1]
    trainer.train()
    assert torch.equal(found[0], wanted)
    stored = trainer.train_loader_x.dataset
    assert stored.features.values.shape == (40, 32) and len(set(stored.paths)) == 20
    labels = {item.impath: item.label for item in trainer.dm.dataset.train_x}
    assert [labels[path] for path in stored.paths] == stored.features.labels.tolist()
    assert [len(batch["label"]) for batch in seen] == [min(batch, 40)] * steps * 2
    assert bool(trainer.model.alpha.any()) == (constraint == "l2")


def resolved(trainer, file, *options):
    files = ["--dataset-config-file", f"{ROOT}/configs/datasets/digits.yaml", "--trainer", trainer]
    files += ["--config-file", f"{ROOT}/configs/trainers/ADAPTER/{file}.yaml"]
    return build_cfg(train.parse_args([*files, *options])).TRAINER.ADAPTER.CONSTRAINT


def test_names_say_the_constraint():
    """Of train.py over that of the file, and of the scripts by the file that they take."""
    assert [resolved(name, "embedded") for name in ("ADAPTER", "CLAP", "ZSLP")] == ["l2", "l2", "none"]
    assert [resolved(name, "zslp_embedded") for name in ("ADAPTER", "CLAP", "ZSLP")] == ["none", "l2", "none"]
    with pytest.raises(ValueError, match="CONSTRAINT is given twice, by TRAINER.ADAPTER.CONSTRAINT l2 and by trainer"):
        resolved("ZSLP", "embedded", "TRAINER.ADAPTER.CONSTRAINT", "l2")
    for name, cfg in (("CLAP", "embedded"), ("ADAPTER", "embedded"), ("ZSLP", "zslp_embedded")):
        run = scripts.run_of(ROOT / "scripts/b2n/base2new_train.sh", ["digits", "1", name], {})
        assert (run.method, run.cfg) == (name, cfg)
