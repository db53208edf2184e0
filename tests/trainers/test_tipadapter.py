"""Tip-Adapter and Tip-Adapter-F: the cache's keys, the search, selection, checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import train
from clip.model import build_model
from reference.shared import toy
from reference.tipadapter import PlainTipAdapter
from tests.few_digits import SELECTED, TESTED
from tests.runs.resolved import resolve
from trainers.shared.features import Features, features_of_batches
from trainers.tipadapter import method as tipadapter
from trainers.tipadapter.cache import TipAdapterModel, search

CONFIGS = Path(train.__file__).parent / "configs"
word = st.integers(1, 59)
names = st.lists(st.lists(word, min_size=1, max_size=4), min_size=1, max_size=5)


@pytest.mark.parametrize("passes", [1, 3])
def test_keys_are_means_over_the_views(passes):
    weights = toy.clip_weights(passes)
    clip_model = build_model(weights, torch.float32).double()
    labels = torch.tensor([0, 1, 0])
    views = [torch.randn(3, 3, 16, 16, dtype=torch.float64) for _ in range(passes)]
    plain = PlainTipAdapter({name: value.double() for name, value in weights.items()}, [toy.prompt_ids([[1]], [], [])])
    found = [features_of_batches(clip_model, [{"img": view, "label": labels}]) for view in views]
    assert torch.equal(found[-1].labels, labels)
    keys = torch.nn.functional.normalize(sum(one.values for one in found) / passes, dim=-1)
    assert torch.allclose(keys, plain.keys(views), rtol=1e-9, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    classes=st.integers(1, 4),
    images=st.integers(1, 30),
    steps=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_search_is_the_plain_double_loop(seed, classes, images, steps):
    torch.manual_seed(seed)
    weights = {name: value.double() for name, value in toy.clip_weights(seed).items()}
    plain = PlainTipAdapter(weights, [toy.prompt_ids([[i + 1] for i in range(classes)], [], [])])
    clip_model = build_model(weights, torch.float32).double()
    model = TipAdapterModel(clip_model, [str(i) for i in range(classes)], plain.text, 1.0, 1.0)
    cached = torch.arange(classes).repeat(2)
    keys = torch.nn.functional.normalize(torch.randn(len(cached), 16).double(), dim=-1)
    near = torch.randint(len(cached), (images,))  # images like those in the cache, so that it matters
    f = torch.nn.functional.normalize(keys[near] + 0.4 * torch.randn(images, 16).double(), dim=-1)
    labels = cached[near]
    model.set_cache(keys, cached)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("trainers.tipadapter.cache.ROWS", 7)  # more parts than one
        found = search(model, Features(f, labels), [9.0, 200.0], steps)
    beta, alpha, right = plain.best(keys, cached, f, labels, [9.0, 200.0], steps)
    assert (found.beta, found.alpha) == pytest.approx((beta, alpha))
    assert found.accuracy == pytest.approx(100 * right) and found.grid.shape == steps


def official_cache(folder, keys, labels, weight):
    """The release's files: half precision, keys ``[d, N]``, values one-hot, F's weight as a parameter."""
    values = torch.nn.functional.one_hot(labels).half()
    tensors = {"keys": keys.t().half(), "values": values, "best_F": torch.nn.Parameter(weight.half())}
    folder.mkdir()
    for name, value in tensors.items():
        torch.save(value, folder / f"{name}_4shots.pt")


def test_official_caches_load(make_trainer, tmp_path):
    labels = torch.arange(5).repeat_interleave(4)
    keys, weight = torch.nn.functional.normalize(torch.randn(20, 32), dim=-1), torch.randn(20, 32)
    official_cache(tmp_path / "caches", keys, labels, weight)
    for method, wanted in (("TipAdapter", keys), ("TipAdapterF", weight)):
        trainer = make_trainer(method)
        trainer.load_model(str(tmp_path / "caches"))
        found = trainer.model.weight if method == "TipAdapterF" else trainer.model.cache_keys.t()
        assert torch.equal(found, wanted.half().float()) and torch.equal(trainer.model.cache_labels, labels)
        assert trainer.model.alpha != 1.17  # searched
        assert 0 <= trainer.test() <= 100
    with pytest.raises(ValueError, match=r"does not fit this run: keys \[32, 20\] and values \[20, 5\] for .* 10 clas"):
        make_trainer("TipAdapter", "DATASET.SUBSAMPLE_CLASSES", "all").load_model(str(tmp_path / "caches"))
    (tmp_path / "caches/values_4shots.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"^cannot load .*values_4shots.pt: damaged"):
        make_trainer("TipAdapter").load_model(str(tmp_path / "caches"))


@pytest.mark.parametrize(
    ("method", "selection", "sizes"),
    [
        ("TipAdapter", "val", {"numbers": SELECTED}),
        ("TipAdapter", "few_shot_val", {"numbers": 20}),
        ("TipAdapter", "test_as_published", {"numbers": SELECTED}),
        ("TipAdapterF", "val", {"numbers": SELECTED, "epoch": SELECTED}),
        ("TipAdapterF", "few_shot_val", {"numbers": 20, "epoch": 20}),
        ("TipAdapterF", "test_as_published", {"numbers": SELECTED, "epoch": TESTED["base"]}),
    ],
)
def test_images_that_settings_are_chosen_on(method, selection, sizes, make_trainer, monkeypatch):
    """Only the published way looks at the test images."""
    seen = {}
    real_search, real_accuracy = tipadapter.search, tipadapter.accuracy_of
    monkeypatch.setattr(
        tipadapter, "search", lambda m, f, *a: seen.update(numbers=len(f.labels)) or real_search(m, f, *a)
    )
    monkeypatch.setattr(tipadapter, "accuracy_of", lambda m, f: seen.update(epoch=len(f.labels)) or real_accuracy(m, f))
    make_trainer(method, "TRAINER.TIPADAPTER.SELECTION", selection, "OPTIM.MAX_EPOCH", 1).train()
    assert seen == sizes


@pytest.mark.parametrize("method", ["TipAdapter", "TipAdapterF"])
def test_cache_follows_the_order_of_the_classes(method, make_trainer, one_batch):
    trainer = make_trainer(method, "OPTIM.MAX_EPOCH", 1)
    trainer.train()
    images, _ = trainer.parse_batch_train(one_batch(trainer))
    order = [3, 0, 4, 1, 2]
    names = [trainer.dm.dataset.classnames[i] for i in order]
    other = trainer.build_method(trainer.cfg, trainer.model.clip_model, names)
    other.fit_to(trainer.model.state_dict(), trainer.dm.dataset.classnames)
    other.load_state_dict(trainer.model.state_dict())
    with torch.no_grad():
        want = trainer.model.scores(images, None)[:, order]
        assert torch.allclose(other.scores(images, other.class_features()), want, atol=1e-4)
    stranger = trainer.build_method(trainer.cfg, trainer.model.clip_model, [*names[1:], "nine"])
    stranger.fit_to(trainer.model.state_dict(), trainer.dm.dataset.classnames)
    with pytest.raises(ValueError, match="^the cache is of other classes than those to score"):
        stranger.class_features()


def test_best_epoch_is_kept_and_a_killed_run_ends_alike(make_trainer, monkeypatch, tmp_path):
    """F in one go, and killed in the second epoch; the accuracies are made up, so that the second epoch is the best."""
    made_up = iter([50.0, 90.0, 60.0, 70.0])
    monkeypatch.setattr(tipadapter, "accuracy_of", lambda *_: next(made_up))
    cosine = ["TipAdapterF", "OPTIM.LR_SCHEDULER", "cosine"]
    whole = make_trainer(*cosine, "OUTPUT_DIR", str(tmp_path / "whole"))
    weights = []
    kept = whole.forward_backward
    monkeypatch.setattr(whole, "forward_backward", lambda b: (kept(b), weights.append(whole.model.weight.clone()))[0])
    whole.train()
    assert len(weights) == 15 and torch.equal(whole.model.weight, weights[9])
    assert (whole.model.alpha, whole.model.beta) == (torch.tensor(1.17), 1)  # they did better (90) than what was found
    assert whole.get_current_lr() < 1e-9 and whole.optim.param_groups[0]["eps"] == 1e-4

    made_up = iter([50.0])
    killed = make_trainer(*cosine)
    real = killed.run_epoch

    def run_epoch():
        if killed.epoch == 1:
            raise KeyboardInterrupt
        real()

    monkeypatch.setattr(killed, "run_epoch", run_epoch)
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    made_up = iter([90.0, 60.0, 70.0])
    resumed = make_trainer(*cosine)
    resumed.train()
    assert all(torch.equal(v, resumed.model.state_dict()[k]) for k, v in whole.model.state_dict().items())
    last = [trainer.optim.state[trainer.model.weight]["exp_avg"] for trainer in (whole, resumed)]
    assert torch.equal(*last)


@pytest.mark.parametrize(
    ("dataset", "alpha", "scale", "epochs"),
    [
        ("caltech101", 3, [12, 5], 20),
        ("dtd", 2, [13, 13], 20),
        ("eurosat", 2, [12, 10], 100),
        ("fgvc_aircraft", 5, [30, 30], 20),
        ("food101", 1.17, [10, 10], 20),
        ("imagenet", 1.17, [7, 3], 20),
        ("oxford_flowers", 10, [50, 50], 20),
        ("oxford_pets", 1.17, [7, 3], 20),
        ("stanford_cars", 3, [20, 10], 20),
        ("sun397", 1.17, [12, 10], 20),
        ("ucf101", 3, [7, 3], 20),
    ],
)
def test_settings_are_the_releases(dataset, alpha, scale, epochs):
    for method in ("TipAdapter", "TipAdapterF"):
        cfg = resolve(method, "vit_b16", dataset)
        node = cfg.TRAINER.TIPADAPTER
        assert (node.INIT_ALPHA, node.INIT_BETA, node.SEARCH_SCALE, node.SEARCH_STEP) == (alpha, 1, scale, [200, 20])
        assert (node.AUGMENT_EPOCH, node.SELECTION, cfg.INPUT.RRCROP_SCALE) == (10, "val", (0.5, 1.0))
    assert (cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.WEIGHT_DECAY, cfg.OPTIM.MAX_EPOCH) == ("adamw", 0.001, 0.01, epochs)
    assert (cfg.OPTIM.LR_SCHEDULER, cfg.OPTIM.WARMUP_EPOCH, cfg.DATALOADER.TRAIN_X.BATCH_SIZE) == ("cosine", 0, 256)
