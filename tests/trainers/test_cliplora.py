"""CLIP-LoRA: its steps, its dropout, the release's file, and the plain CLIP that it becomes."""

from __future__ import annotations

import math

import pytest
import torch

import reference
from clip.model import CLIP, build_model
from tests.agreement import relative
from trainers.cliplora import CLIPLoRAModel, LoRAAttention
from trainers.settings import CLIPLoRASettings

NODE = "TRAINER.CLIPLORA"


def learned(make_trainer, *options):
    """A trainer in evaluation mode, whose tensors are of a size that matters."""
    trainer = make_trainer("CLIP_LoRA", *options)
    for value in trainer.model.parameters():
        value.data.normal_(std=0.2)
    trainer.set_model_mode("eval")
    return trainer


def test_trains_for_steps_and_cuts_the_last_epoch(make_trainer):
    """2 steps for each of 4 shots, 20 images in batches of 8, 8 and 4: two epochs and two steps."""
    options = ("DATALOADER.TRAIN_X.BATCH_SIZE", 8, "OPTIM.LR_SCHEDULER", "cosine", f"{NODE}.N_ITERS", 2)
    trainer = make_trainer("CLIP_LoRA", *options, "TEST.NO_TEST", True)
    seen, step = [], trainer.forward_backward
    trainer.forward_backward = lambda batch: seen.append((len(batch["img"]), trainer.get_current_lr())) or step(batch)
    trainer.train()
    rates = [1e-6 + (1e-3 - 1e-6) / 2 * (1 + math.cos(math.pi * k / 8)) for k in range(9)]
    assert [size for size, _ in seen] == [8, 8, 4, 8, 8, 4, 8, 8]
    assert [*(rate for _, rate in seen), trainer.get_current_lr()] == pytest.approx(rates)


def test_drops_in_training_alone_and_by_a_mask_for_each_place(make_trainer, one_batch, monkeypatch):
    trainer = learned(make_trainer, f"{NODE}.DROPOUT_RATE", 0.5)
    images, labels = trainer.parse_batch_train(one_batch(trainer))
    rest, _ = trainer.model.loss(images, labels)
    assert torch.equal(trainer.model.loss(images, labels)[0], rest)
    sizes, drop = set(), LoRAAttention.drop
    monkeypatch.setattr(LoRAAttention, "drop", lambda *args: sizes.add(args[2].shape[:2]) or drop(*args))
    trainer.set_model_mode("train")
    losses = [trainer.model.loss(images, labels)[0].item() for _ in range(3)]
    assert len({*losses, rest.item()}) == 4
    places = len(trainer.model.apart.positions)  # of all classes' tokens, none shared
    assert sizes == {(4, 17), (4, 1), (1, places), (1, 5)} and places > len(trainer.model.layout.positions)


@pytest.mark.parametrize(("encoder", "params"), [("both", "qkvo"), ("text", "kv"), ("vision", "o")])
def test_merged_it_is_a_plain_clip(encoder, params, make_trainer, one_batch):
    trainer = learned(make_trainer, f"{NODE}.ENCODER", encoder, f"{NODE}.PARAMS", [*params], f"{NODE}.ALPHA", 3)
    model, images = trainer.model, one_batch(trainer)["img"]
    before = {name: value.clone() for name, value in model.clip_model.state_dict().items()}
    plain, weights = build_model(model.merged_clip(), torch.float32), model.clip_model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in before.items())
    tokens = torch.cat([model.tokens, model.tokens[:1]])
    for found, own, of_clip, changed in (
        (plain.encode_image(images), model.image_features(images), model.clip_model.encode_image(images), "vision"),
        (plain.encode_text(tokens)[:5], model.class_features(), model.clip_model.encode_text(model.tokens), "text"),
    ):
        unit, frozen = (torch.nn.functional.normalize(value, dim=-1) for value in (found, of_clip))
        assert relative(unit, own) < 1e-5 and (relative(own, frozen) > 1e-2) == (encoder in (changed, "both"))


def test_the_releases_file_of_other_settings_is_refused(make_trainer, tmp_path):
    (official,) = reference.of("CLIP_LoRA").checkpoints
    official.write(tmp_path)
    trainer = make_trainer("CLIP_LoRA", f"{NODE}.R", 4, f"{NODE}.POSITION", "up")
    with pytest.raises(
        ValueError, match=rf"^.*lora_weights.pt .*: {NODE}.POSITION is all there, up here; {NODE}.R is 2 "
    ):
        trainer.load_model(str(tmp_path))
    with pytest.raises(
        ValueError, match=r"lora_weights.pt does not fit this run: .*layer_6.q_proj.w_lora_A is unknown"
    ):
        make_trainer("CLIP_LoRA").load_model(str(tmp_path))  # of deeper towers
    torch.save({"weights": {}}, tmp_path / "lora_weights.pt")
    with pytest.raises(ValueError, match=r"^cannot load .*lora_weights.pt: damaged, or not a file of CLIP-LoRA's$"):
        trainer.load_model(str(tmp_path))


def test_a_position_without_a_layer_is_refused():
    with pytest.raises(ValueError, match=rf"^{NODE}.POSITION bottom has no layer in these towers: set it to all$"):
        CLIPLoRAModel(CLIP(8, 16, 2, 64, 8, 77, 49408, 64, 1, 2), ["a"], CLIPLoRASettings(position="bottom"))
