"""AlignedNorm: what its terms have no gradient in, and which features score."""

from __future__ import annotations

import torch

from trainers.alignednorm import Norms, final_term, sequence_term


def test_class_tokens_are_targets_and_states_are_averaged_before_they_are_compared():
    u_c, u_r = (torch.tensor(values, requires_grad=True) for values in ([1.0, 5.0], [3.0, 3.0]))
    states = torch.tensor([[[1.0, 2.0], [3.0, 2.0]]], requires_grad=True)  # a layer, two images; a token, the class
    norms = Norms(u_c, u_r, states)
    assert (final_term(norms).item(), sequence_term(norms).item()) == (2.0, 0.0)
    (final_term(norms) + sequence_term(norms._replace(states=states + torch.tensor([1.0, 0.0])))).backward()
    assert u_c.grad is None and torch.equal(u_r.grad, torch.tensor([0.5, -0.5]))
    assert torch.equal(states.grad, torch.tensor([[[0.5, 0.0], [0.5, 0.0]]]))


def test_both_features_score_new_classes_too(make_trainer):
    trainer = make_trainer("ALIGNEDNORM", "DATASET.SUBSAMPLE_CLASSES", "new")
    images, model = next(iter(trainer.test_loader))["img"][:3], trainer.model
    model.use_classes(False)
    w = model.class_features()
    f_c, f_r = model.image_features(images)
    wanted = 100 * (0.7 * f_c + 0.3 * f_r) @ w.t()
    torch.testing.assert_close(model.scores(images, w), wanted)
    assert model.weight_of_class_feature() == 0.7
