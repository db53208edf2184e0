"""Drawing as if a CLIP were built, against building one of torch's own modules, and counting against drawing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from clip import draws as draws_module
from clip import mersenne
from clip.draws import Draw, advance, linear, of_clip, perform
from clip.model import CLIP

VOCABULARY, CONTEXT, PATCH, SIDE = 37, 9, 4, 64


def block(width):
    """A transformer layer of torch's modules, drawn in the order of OpenAI's."""
    attention = nn.MultiheadAttention(width, 1)
    return attention, nn.Linear(width, 4 * width), nn.Linear(4 * width, width)


def vit(width, layers, joint, images=(SIDE, PATCH)):
    side, patch = images
    nn.Conv2d(3, width, patch, patch, bias=False)
    torch.randn(width)
    torch.randn((side // patch) ** 2 + 1, width)
    for _ in range(layers):
        block(width)
    torch.randn(width, joint)
    return []


def bottleneck(inplanes, planes, stride):
    nn.Conv2d(inplanes, planes, 1, bias=False)
    nn.Conv2d(planes, planes, 3, bias=False)
    nn.Conv2d(planes, 4 * planes, 1, bias=False)
    if stride > 1 or inplanes != 4 * planes:
        nn.Conv2d(inplanes, 4 * planes, 1, bias=False)


def resnet(width, depths, joint):
    """The attention pool's maps, in the order in which they are drawn again."""
    for into, out in ((3, width // 2), (width // 2, width // 2), (width // 2, width)):
        nn.Conv2d(into, out, 3, bias=False)
    inplanes = width
    for stage, depth in enumerate(depths):
        for i in range(depth):
            bottleneck(inplanes, width * 2**stage, 2 if stage and not i else 1)
            inplanes = 4 * width * 2**stage
    torch.randn((SIDE // 32) ** 2 + 1, inplanes)
    k, q, v = (nn.Linear(inplanes, inplanes) for _ in range(3))
    return [q, k, v, nn.Linear(inplanes, joint)]


def build(tower, text_width, text_layers, joint, texts=(VOCABULARY, CONTEXT)):
    """All that building draws: the image tower, then the text's, then ``initialize_parameters``."""
    pool = tower()
    blocks = [block(text_width) for _ in range(text_layers)]
    embedding = nn.Embedding(texts[0], text_width)
    again = [embedding.weight, torch.empty(texts[1], text_width), *(one.weight for one in pool)]
    for attention, c_fc, c_proj in blocks:
        again += [attention.in_proj_weight, attention.out_proj.weight, c_fc.weight, c_proj.weight]
    for tensor in (*again, torch.empty(text_width, joint)):
        nn.init.normal_(tensor, std=0.02)


def moved(draws):
    list(perform(draws))
    return torch.get_rng_state()


@pytest.mark.slow
def test_the_generator_stands_where_building_vit_b_16_leaves_it():
    with torch.device("meta"):
        clip_model = CLIP(512, 224, 12, 768, 16, 77, 49408, 512, 8, 12)
    torch.manual_seed(1)
    build(lambda: vit(768, 12, 512, (224, 16)), 512, 12, 512, (49408, 77))
    wanted = torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(moved(of_clip(clip_model.state_dict())), wanted)


@settings(max_examples=15, deadline=None)
@given(
    width=st.integers(1, 20), layers=st.integers(1, 2), text_width=st.integers(1, 20), joint=st.integers(1, 20),
    res=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_the_generator_stands_where_building_leaves_it(width, layers, text_width, joint, res, seed):
    """Widths below 16 and others: torch draws few normal values in another way than many."""
    depth, size, patch = ((1, 2, 1, 1), 4, None) if res else (layers, width, PATCH)
    with torch.device("meta"):
        clip_model = CLIP(joint, SIDE, depth, size, patch, CONTEXT, VOCABULARY, text_width, 1, layers)
    torch.manual_seed(seed)
    build(lambda: resnet(4, depth, joint) if res else vit(width, layers, joint), text_width, layers, joint)
    wanted = torch.get_rng_state()
    torch.manual_seed(seed)
    assert torch.equal(moved(of_clip(clip_model.state_dict())), wanted)


@pytest.mark.parametrize("before", [0, 5, 624])
@pytest.mark.parametrize("count", [0, 1, 623, 624, 625, 65536, 200_001, 5_000_001])
def test_advance_leaves_out_so_many_numbers(before, count, monkeypatch):
    """By drawing them, and by a jump."""

    def state(move):
        torch.manual_seed(3)
        torch.rand(before)
        torch.randn(3)  # leaves a normal value for later
        move(count)
        return torch.get_rng_state()

    wanted = state(torch.rand)
    assert torch.equal(state(advance), wanted)
    monkeypatch.setattr(draws_module, "FAR", 0)
    assert torch.equal(state(advance), wanted)


def test_the_characteristic_polynomial_is_that_of_the_paper():
    """Of degree 19937, with 135 terms (Matsumoto and Nishimura, 1998)."""
    assert mersenne.characteristic().bit_length() == 19938 and mersenne.characteristic().bit_count() == 135


@pytest.mark.parametrize("shape", [(3,), (15,), (16,), (17,), (5, 16), (3, 7)])
@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_kept_and_counted_draws_move_alike(shape, kind, dtype):
    states = []
    for keep in ((), ("it",)):
        torch.manual_seed(1)
        states.append(moved([Draw("it", kind, shape, keep=keep, dtype=dtype)]))
    assert torch.equal(*states)


def test_a_linear_is_torchs():
    torch.manual_seed(5)
    module = nn.Linear(7, 33)
    torch.manual_seed(5)
    weight, bias = (values for _, values in perform(linear("it", (33, 7), keep=("a", "b"))))
    assert torch.equal(weight, module.weight) and torch.equal(bias, module.bias)
    assert [draw.keep for draw in linear("it", (33, 7), keep=("a", "b"))] == [
        ("a.weight", "b.weight"),
        ("a.bias", "b.bias"),
    ]


def test_an_own_draw_follows_a_tensor_that_is_drawn():
    with torch.device("meta"):
        tensors = CLIP(8, SIDE, 1, 8, PATCH, CONTEXT, VOCABULARY, 8, 1, 1).state_dict()
    own = Draw("own", "normal", (2, 8), keep=("own",))
    names = [draw.name for draw in of_clip(tensors, {"visual.proj": own})]
    assert names[names.index("visual.proj") + 1] == "own"
    with pytest.raises(ValueError, match=r"^building this CLIP draws no visual\.ln_pre\.weight$"):
        list(of_clip(tensors, {"visual.ln_pre.weight": own}))
