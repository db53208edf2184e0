"""The block primitive and the class-prompt encoder against dense, plain computations."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from clip.class_prompts import ClassPrompts
from clip.frozen import frozen_mlp
from clip.layers import ResidualAttentionBlock, causal_mask
from clip.model import build_model
from reference.shared import toy
from reference.shared.clip import PlainBlock, PlainCLIP

D = 128


def block_and_plain(seed=0):
    """The same random block twice, in float64: ours (frozen) and plain."""
    torch.manual_seed(seed)
    block = ResidualAttentionBlock(D, D // 64).double()
    for value in block.parameters():
        torch.nn.init.normal_(value, std=0.1)
    block.requires_grad_(False)
    return block, PlainBlock(dict(block.state_dict()), "")


def additive(mask):
    """True = seen, as numbers to add to scores."""
    return torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, float("-inf"))


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3),
    n=st.integers(1, 6),
    k=st.integers(0, 3),
    per_sample=st.booleans(),
    rows=st.sampled_from(["all", "slice", "index", "index for all"]),
    masked=st.booleans(),
    accelerator=st.booleans(),
)
def test_block_equals_dense_attention_over_tokens_and_context(batch, n, k, per_sample, rows, masked, accelerator):
    block, plain = block_and_plain()
    x = torch.randn(batch, n, D, dtype=torch.float64, requires_grad=True)
    shape = (batch, k, D) if per_sample else (k, D)
    kv_tokens = torch.randn(shape, dtype=torch.float64, requires_grad=True) if k else None
    mask = None
    if masked:  # causal over the tokens, some columns of kv_tokens hidden, never a row without anything to see
        mask = torch.cat([causal_mask(n), torch.rand(n, k) < 0.5], dim=1)
    dense = x if kv_tokens is None else torch.cat([x, kv_tokens.expand(batch, k, D)], dim=1)
    full = None
    if mask is not None:
        full = torch.eye(n + k, dtype=torch.bool)
        full[:n] = mask
        full = additive(full)
    want = plain(dense, full)[:, :n]
    pick = None
    if rows == "slice":
        pick, want = slice(0, (n + 1) // 2), want[:, : (n + 1) // 2]
    elif rows == "index":
        pick = torch.randint(n, (batch, 2))
        want = want[torch.arange(batch)[:, None], pick]
    elif rows == "index for all":
        pick = torch.randint(n, (3,))
        want = want[:, pick]
    with mock.patch("clip.layers.waits_for_launches", return_value=accelerator):
        got = block(x, kv_tokens=kv_tokens, rows=pick, mask=mask)
    assert torch.allclose(got, want, atol=1e-10)
    weights = torch.randn_like(want)
    inputs = [x] if kv_tokens is None else [x, kv_tokens]
    for ours, theirs in zip(
        torch.autograd.grad((got * weights).sum(), inputs),
        torch.autograd.grad((want * weights).sum(), inputs),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("quick", [True, False])
def test_frozen_mlp_has_the_right_derivatives(quick):
    torch.manual_seed(0)
    shapes = [(12, 3), (12,), (3, 12), (3,)]
    w_in, b_in, w_out, b_out = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    hidden = F.linear(x, w_in, b_in)
    want = F.linear(hidden * torch.sigmoid(1.702 * hidden) if quick else F.gelu(hidden), w_out, b_out)
    frozen = (w_in, b_in, w_out, b_out, quick)
    assert torch.allclose(frozen_mlp(x, *frozen), want, atol=1e-12)
    with torch.no_grad():
        assert torch.allclose(frozen_mlp(x, *frozen), want, atol=1e-12)
    slopes = torch.randn_like(want)
    ours, theirs = (torch.autograd.grad((y * slopes).sum(), x)[0] for y in (frozen_mlp(x, *frozen), want))
    assert torch.allclose(ours, theirs, atol=1e-12)
    assert torch.autograd.gradcheck(lambda t: frozen_mlp(t, *frozen), x)
    with pytest.raises(RuntimeError, match="frozen layers have no second derivatives"):  # not a wrong number
        torch.autograd.grad(frozen_mlp(x, *frozen).sum(), x, create_graph=True)


def test_trainable_layers_still_train():
    """Pre-training uses the same block: its weights get gradients when they ask for them."""
    block, _ = block_and_plain()
    block.requires_grad_(True)
    block(torch.randn(1, 3, D, dtype=torch.float64)).sum().backward()
    assert all(value.grad is not None for value in block.parameters())


word = st.integers(1, 59)


@settings(max_examples=25, deadline=None)
@given(
    names=st.lists(st.lists(word, min_size=0, max_size=7), min_size=1, max_size=7),
    before=st.lists(word, max_size=4),
    after=st.lists(word, max_size=3),
    layers=st.integers(1, 3),
    shorter=st.integers(0, 3),
)
def test_class_prompts_equal_the_dense_encoder(names, before, after, layers, shorter):
    weights = toy.clip_weights(1, text=(64, layers))
    ids = toy.prompt_ids(names, before, after)
    model = build_model(weights, torch.float32).double().requires_grad_(False)
    want = PlainCLIP({name: value.double() for name, value in weights.items()}).text_feature(ids)
    shared = ClassPrompts(ids).prefix
    prompts = ClassPrompts(ids, prefix=max(0, shared - shorter))
    out = prompts.run(model.transformer.resblocks, prompts.embed(model), last=True)
    assert torch.allclose(F.normalize(model.text_to_joint_space(out[0]), dim=-1), want, atol=1e-9)
    assert torch.allclose(F.normalize(model.encode_text(ids), dim=-1), want, atol=1e-9)


def test_class_prompts_compute_no_more_than_they_must():
    ids = toy.prompt_ids([[1, 2], [3], [1, 2, 3]], [10, 11, 12], [20])
    prompts = ClassPrompts(ids)
    assert (prompts.prefix, prompts.suffix_tokens, prompts.classes) == (4, 4 + 3 + 5, 3)
    # Sorted by length, the longest first; starts and eot are in the order of the classes.
    assert prompts.ids.tolist() == [60, 10, 11, 12, 1, 2, 3, 20, 61, 1, 2, 20, 61, 3, 20, 61]
    assert prompts.positions.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 4, 5, 6, 7, 4, 5, 6]
    assert (prompts.starts.tolist(), prompts.eot.tolist()) == ([5, 9, 0], [8, 11, 4])


@pytest.mark.parametrize(
    ("lengths", "padded"),
    [
        ([4] * 50, [(50, 4)]),  # one length: nothing is padded
        ([8, 3, 3, 3], [(1, 8), (3, 3)]),  # far apart: a group each
        ([9] + [8] * 20, [(21, 9)]),  # close: one group, 8 tokens of padding for 169
    ],
)
def test_attention_pads_suffixes_of_close_lengths_only(lengths, padded):
    prompts = ClassPrompts(toy.prompt_ids([[1 + i] * (n - 1) for i, n in enumerate(lengths)], [60], []))
    assert [(group.classes, group.longest) for group in prompts.groups] == padded


@pytest.mark.parametrize("joint", [0, 1024])
def test_an_accelerators_layouts_give_the_features_and_gradients_of_a_cpus(joint, monkeypatch):
    monkeypatch.setattr("clip.class_prompts.JOINT", joint)
    model = build_model(toy.clip_weights(2), torch.float32).double().requires_grad_(False)
    ids = toy.prompt_ids([[1, 2, 3, 4, 5, 6], [3], [4, 5]], [10, 11], [20])
    x = ClassPrompts(ids).embed(model) + 0.1 * torch.randn(2, 1, 64, dtype=torch.float64)
    beside, readers = torch.randn(2, 2, 64, dtype=torch.float64), torch.randn(3, 64, dtype=torch.float64)
    inputs = [value.requires_grad_() for value in (x, beside, readers)]
    blocks, found = model.transformer.resblocks, []
    for accelerator in (False, True):
        monkeypatch.setattr("clip.layers.waits_for_launches", lambda device, chosen=accelerator: chosen)
        prompts = ClassPrompts(ids)
        read = prompts.run_readers(blocks, readers, prompts.keys_values(blocks, x[:1]))
        out = prompts.run(blocks, x, [None, beside, None], kv_tokens_at=2, last=True)
        grads = torch.autograd.grad(out.sin().sum() + read.sin().sum(), inputs)
        found.append((len(prompts.groups), prompts.joint, out, read, *grads))
    (many, never, *want), (one, together, *got) = found
    assert (many > one == 1, never, together) == (True, False, joint > 0)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-9) for a, b in zip(got, want, strict=True))


def test_versions_of_the_prompts_are_independent():
    """B > 1 (prompts that depend on the image) is B times B = 1."""
    model = build_model(toy.clip_weights(2), torch.float32).requires_grad_(False)
    prompts = ClassPrompts(toy.prompt_ids([[1, 2], [3], [4, 5, 6]], [10, 11], [20]))
    x = prompts.embed(model) + 0.1 * torch.randn(3, 1, 64)
    kv_tokens = torch.randn(3, 2, 64)
    each_layer = [None, kv_tokens, None]
    together = prompts.run(model.transformer.resblocks, x, each_layer, last=True)
    for i in range(3):
        alone = prompts.run(model.transformer.resblocks, x[i : i + 1], [None, kv_tokens[i], None], last=True)
        assert torch.allclose(together[i : i + 1], alone, atol=1e-5)


@pytest.mark.parametrize("ids", [torch.zeros(0, 77, dtype=torch.long), torch.zeros(77, dtype=torch.long)])
def test_class_prompts_need_a_class(ids):
    with pytest.raises(ValueError, match=r"class prompts need token ids \[C, L\] of at least one class"):
        ClassPrompts(ids)


def test_prefix_that_is_not_shared_is_refused():
    with pytest.raises(ValueError, match="the first 4 tokens are not the same in all prompts: only the first 3 are"):
        ClassPrompts(toy.prompt_ids([[1], [2]], [10, 11], []), prefix=4)


def test_image_of_the_wrong_size_is_refused():
    model = build_model(toy.clip_weights(0), torch.float32)
    with pytest.raises(ValueError, match=r"takes images \[B, 3, 16, 16\], not \[1, 3, 32, 32\]: set INPUT.SIZE"):
        model.encode_image(torch.zeros(1, 3, 32, 32))
