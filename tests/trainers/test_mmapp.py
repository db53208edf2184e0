"""MMA++: what a step draws, its dropout, its initial values, and class descriptions from a file."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from trainers import mmapp
from trainers.shared.descriptions import described, file_of


def test_a_step_draws_texts_and_scale_and_a_test_changes_nothing(make_trainer, one_batch, monkeypatch):
    monkeypatch.setattr(mmapp, "HC_TEMPLATES", 4)
    trainer = make_trainer("MultiModalAdapterPP")
    model, batch = trainer.model, one_batch(trainer)
    trainer.epoch, trainer.batch_idx, trainer.num_batches = 0, 0, 1000
    torch.manual_seed(3)
    which, share = torch.randint(4, (1, 5))[0], torch.rand(1).item()
    torch.manual_seed(3)
    trainer.forward_backward(batch)
    assert model.share == share
    own = model.tokens[torch.arange(5), which]
    assert torch.equal(model.chosen.ids.sort().values, own[own > 0].sort().values)
    with torch.no_grad():
        before = model.loss(*trainer.parse_batch_train(batch))[0]
        trainer.test()
        trainer.set_model_mode("train")
        assert torch.equal(model.loss(*trainer.parse_batch_train(batch))[0], before)


def test_dropout_is_for_training_alone(make_trainer, one_batch):
    trainer = make_trainer("MultiModalAdapterPP", "TRAINER.MMADAPTERPP.ADAPTER_DROP", 0.5)
    images, _ = trainer.parse_batch_train(one_batch(trainer))
    with torch.no_grad():
        assert not torch.equal(trainer.model.step(images).f, trainer.model.step(images).f)
        assert torch.equal(trainer.model.image_features(images), trainer.model.image_features(images))
        trainer.set_model_mode("eval")
        assert torch.equal(trainer.model.step(images).f, trainer.model.step(images).f)


def test_biases_start_as_a_linear_layer_draws_them(make_trainer):
    adapters = make_trainer("MultiModalAdapterPP", "OFFICIAL_STREAM", False).model.text_adapter
    down = adapters["2"].down[0]
    assert 0.5 < down.bias.abs().max() * 64**0.5 <= 1


TEXTS = {"Inline_Skate": ["It rolls.", "It has wheels."], "dog": ["It barks.", "It has fur."]}


@pytest.mark.parametrize(("name", "head"), [("dtd.json", ""), ("dtd.py", "# texts\nDTD_TEMPLATES = ")])
def test_descriptions_are_found_by_data_set_and_class(name, head, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / name).write_text(f"{head}{json.dumps(TEXTS)}\n")
    cfg = SimpleNamespace(DATASET=SimpleNamespace(ROOT=str(tmp_path), NAME="DescribableTextures"))
    path = file_of(cfg, "texts")
    assert path.name == name and file_of(cfg, f"texts/{name}") == path
    assert described(path, ["Dog", "inline skate"], "KEY") == [TEXTS["dog"], TEXTS["Inline_Skate"]]
    cfg.DATASET.NAME = "ImageNetV2"
    assert file_of(cfg, "texts") == tmp_path / "texts/imagenet.json"


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.json", None, "KEY: there is no file of class descriptions .*: make it, or name another"),
        ("a.json", json.dumps({"dogs": ["a"]}), "has no texts for the class 'dog'; did you mean dogs"),
        ("a.json", json.dumps({"dog": ["a"], "cat": ["a", "b"]}), "has 1 texts for 'dog' and 2 for 'cat': give every"),
        ("a.json", json.dumps({"dog": "a"}), "must hold a list of texts for each class name"),
        ("a.json", json.dumps(["dog"]), "must hold a list of texts for each class name"),
        ("a.json", "{", "a.json is damaged: "),
        ("a.py", "import os\nA = os.listdir()", "a.py is damaged: "),
        ("a.py", "A = {}\nB = {}", "is damaged: it assigns 2 values, not one dict of texts"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(name, text, line, tmp_path):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=line):
        described(path, ["dog", "cat"], "KEY")
