"""Readers of class prompts: tokens that see a class's tokens and that nothing sees."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clip.class_prompts import ClassPrompts
from clip.layers import causal_mask
from clip.model import build_model
from reference.shared import toy

word = st.integers(1, 59)


@settings(max_examples=20, deadline=None)
@given(
    names=st.lists(st.lists(word, min_size=1, max_size=7), min_size=1, max_size=6),
    before=st.lists(word, max_size=3),
    readers=st.integers(1, 3),
    layers=st.integers(1, 3),
)
def test_readers_equal_tokens_behind_a_mask(names, before, readers, layers):
    torch.manual_seed(0)
    model = build_model(toy.clip_weights(1, text=(128, layers)), torch.float32).double().requires_grad_(False)
    blocks = model.transformer.resblocks
    ids = toy.prompt_ids(names, before, [])
    start = torch.randn(readers, 128, dtype=torch.float64)
    prompts = ClassPrompts(ids)
    found = prompts.run_readers(blocks, start, prompts.keys_values(blocks, prompts.embed(model)))
    for row, own in zip(ids, found, strict=True):
        length = int(row.argmax()) + 1
        mask = causal_mask(length + readers)
        mask[:, length:] = False
        x = torch.cat([model.embed_text(row[None], length), start[None]], dim=1)
        for block in blocks:
            x = block(x, mask=mask)
        assert torch.allclose(own, x[0, length:], rtol=1e-9, atol=1e-9)
