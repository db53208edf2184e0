"""The ResNet tower's parts, at sizes small enough to try many."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from clip.resnet import AttentionPool2d, Bottleneck, ModifiedResNet


def tower(layers=(1, 2, 1, 1), output_dim=6, heads=5, side=64, width=10):
    torch.manual_seed(0)
    return ModifiedResNet(layers, output_dim, heads, side, width).eval()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.booleans())
def test_attention_pool_is_multi_head_attention(batch, heads, per_head, side, output_dim, double):
    torch.manual_seed(0)
    width, dtype = heads * per_head, torch.float64 if double else torch.float32
    pool = AttentionPool2d(side, width, heads, output_dim).to(dtype)
    x = torch.randn(batch, width, side, side, dtype=dtype)
    sequence = x.flatten(2).permute(2, 0, 1)
    sequence = torch.cat([sequence.mean(0, keepdim=True), sequence]) + pool.positional_embedding[:, None]
    expected, _ = F.multi_head_attention_forward(
        *(sequence, sequence, sequence, width, heads),
        in_proj_weight=None,
        in_proj_bias=torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]),
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=pool.c_proj.weight,
        out_proj_bias=pool.c_proj.bias,
        use_separate_proj_weight=True,
        q_proj_weight=pool.q_proj.weight,
        k_proj_weight=pool.k_proj.weight,
        v_proj_weight=pool.v_proj.weight,
    )
    torch.testing.assert_close(pool(x), expected[0])


def test_strided_block_pools_instead_of_skipping():
    block = Bottleneck(8, 2, stride=2).eval()
    x = torch.randn(1, 8, 4, 4)
    moved = x.clone()
    moved[..., 1, 1] += 1.0  # a strided 1x1 convolution on the shortcut would not see this position
    pooled, seen = block.downsample(x), block.downsample(moved)
    assert pooled.shape == (1, 8, 2, 2) and not torch.allclose(pooled[..., 0, 0], seen[..., 0, 0])
    assert {conv.stride for conv in block.modules() if isinstance(conv, torch.nn.Conv2d)} == {(1, 1)}


def test_block_without_change_of_shape_has_no_shortcut_parameters():
    assert not any("downsample" in key for key in Bottleneck(8, 2).state_dict())


@pytest.mark.parametrize("side", [32, 64, 96])
def test_shapes(side):
    model = tower(side=side)
    assert model.stem(torch.zeros(2, 3, side, side)).shape == (2, 10, side // 4, side // 4)
    assert model(torch.randn(2, 3, side, side)).shape == (2, 6)
    assert len(model.attnpool.positional_embedding) == (side // 32) ** 2 + 1


def test_input_is_cast_to_the_weights_dtype():
    model = tower().double()
    assert model(torch.randn(1, 3, 64, 64)).dtype == torch.float64


@pytest.mark.parametrize("shape", [(1, 3, 96, 96), (3, 64, 64), (1, 1, 64, 64)])
def test_image_of_another_size_is_refused(shape):
    with pytest.raises(ValueError, match=r"images \[B, 3, 64, 64\]"):
        tower()(torch.zeros(shape))


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="320 is not a multiple of its 7 heads"):
        tower(heads=7)


def test_keys_of_openais_release():
    keys = set(tower(layers=(2, 1, 1, 1)).state_dict())
    assert {
        "conv1.weight",
        "bn3.running_var",
        "layer1.0.downsample.0.weight",
        "layer1.0.downsample.1.num_batches_tracked",
        "layer1.1.conv3.weight",
        "layer4.0.bn3.bias",
        "attnpool.positional_embedding",
        "attnpool.c_proj.bias",
    } <= keys
    assert "layer1.1.downsample.0.weight" not in keys
    assert len(keys) == 3 * 6 + 5 * 3 * 6 + 4 * 6 + 9
