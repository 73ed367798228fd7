"""What the scores are: the equations, spelled slowly; and what all of them hold to."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tokens.reference_tokens import capacity, importance, independence
from tests.tokens.small_vits import vit

import infoprune.tokens
from infoprune.estimators.tokens import paper_token_importance, token_capacity, token_importance, token_independence
from infoprune.graph.counting import count_macs
from infoprune.surgery.tokens import TokenSelection
from infoprune.tokens import Arriving, scores

seeds = st.integers(0, 2**32 - 1)


def drawn(seed, batch=2, n=9, d=12, scale=0.4):
    return scale * torch.randn(batch, n, d, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


@given(seeds, st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_capacity_is_that_of_the_loops(seed, kernels):
    tokens = drawn(seed)
    expected = [[capacity(token, kernels, 2) for token in image] for image in tokens.tolist()]
    torch.testing.assert_close(token_capacity(tokens, kernels=kernels), torch.tensor(expected, dtype=torch.double))


@given(seeds)
def test_independence_is_that_of_the_loops(seed):
    tokens = drawn(seed)
    expected = torch.tensor([independence(image, 2) for image in tokens.tolist()], dtype=torch.double)
    torch.testing.assert_close(token_independence(tokens), expected)
    assert (token_independence(tokens) >= 0).all()


@given(seeds, st.integers(0, 3))
def test_importance_is_that_of_the_loops_over_the_patches(seed, prefix):
    tokens = drawn(seed)
    expected = torch.tensor([importance(image[prefix:], 3, 2) for image in tokens], dtype=torch.double)
    torch.testing.assert_close(token_importance(tokens, kernels=3, prefix=prefix), expected)


@given(seeds)
def test_the_papers_importance_is_that_of_the_loops_with_euclidean_distances(seed):
    tokens = drawn(seed)
    expected = torch.tensor([importance(image, 3, 1) for image in tokens], dtype=torch.double)
    torch.testing.assert_close(paper_token_importance(tokens, kernels=3), expected, rtol=1e-6, atol=1e-6)


def test_single_precision_is_close_to_double_also_far_from_zero():
    tokens = drawn(0, n=64, d=96) + 3
    close = token_importance(tokens.float(), kernels=3)
    torch.testing.assert_close(close.double(), token_importance(tokens, kernels=3), rtol=0, atol=1e-3)


def test_a_width_that_kernels_do_not_divide_is_filled_with_zeros():
    tokens = drawn(0, d=10)
    filled = torch.nn.functional.pad(tokens, (0, 2))
    torch.testing.assert_close(token_capacity(tokens, kernels=4), token_capacity(filled, kernels=4))


# ------------------------------------------------------------------------------------- what all scores hold to

needs_positions = {"random"}


BLOCK = vit().blocks[0].double()


def arriving(tokens, kernels=3):
    return Arriving(tokens, 1, copy.deepcopy(BLOCK).to(tokens.dtype), kernels)


@pytest.mark.parametrize("name", sorted(scores))
def test_there_is_one_number_a_patch_in_the_precision_of_the_tokens(name):
    for dtype in (torch.float32, torch.float64):
        found = scores[name](arriving(torch.randn(2, 9, 24, dtype=dtype)))
        assert found.shape == (2, 8)
        assert found.dtype == dtype


@pytest.mark.parametrize("name", sorted(set(scores) - needs_positions))
def test_permuting_the_patches_permutes_the_scores(name):
    tokens = torch.randn(2, 9, 24, dtype=torch.double)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(3))
    permuted = torch.cat([tokens[:, :1], tokens[:, 1:][:, order]], 1)
    torch.testing.assert_close(scores[name](arriving(permuted)), scores[name](arriving(tokens))[:, order])


@pytest.mark.parametrize("name", sorted(scores))
def test_images_are_scored_by_themselves(name):
    tokens = torch.randn(3, 9, 24, dtype=torch.double)
    alone = torch.cat([scores[name](arriving(image[None])) for image in tokens])
    torch.testing.assert_close(scores[name](arriving(tokens)), alone)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e4, 1e18])
@pytest.mark.parametrize("name", sorted(scores))
def test_constant_images_give_no_nan(name, value):
    tokens = torch.full((2, 9, 24), value)
    tokens[:, 0] = torch.randn(24)
    found = scores[name](arriving(tokens))
    assert found.isfinite().all()


def test_a_constant_image_has_no_important_token():
    tokens = torch.full((1, 9, 24), 0.1) * torch.rand(24)
    assert (token_importance(tokens, kernels=3) < 0.01).all()


def test_a_token_that_differs_from_all_others_stays():
    tokens = torch.ones(1, 50, 24)
    tokens[0, 17, 3] = 5.0
    selection = TokenSelection(49, 1, prefix=1, score="capacity_independence", kernels=3, fuse=False)
    assert selection.choice(tokens, vit().blocks[0]).item() == 16


@pytest.mark.parametrize(("dim", "heads"), [(192, 3), (384, 6), (768, 12)])
def test_scoring_takes_under_three_percent_of_the_multiply_adds_of_a_block(dim, heads):
    block = timm_block(dim, heads)
    x = torch.zeros(1, 197, dim)
    selection = TokenSelection(196, 137, prefix=1, score="capacity_independence", kernels=heads, fuse=False)
    assert count_macs(selection, (x, block)) < 0.03 * count_macs(block, (x,))


def timm_block(dim, heads):
    from timm.models.vision_transformer import Block

    return Block(dim, heads)


def test_class_attention_is_the_attention_of_the_class_token():
    block = vit(qkv_bias=True).blocks[0].double()
    x = torch.randn(2, 9, 24, dtype=torch.double)
    qkv = block.attn.qkv(block.norm1(x)).reshape(2, 9, 3, 3, 8).permute(2, 0, 3, 1, 4)
    attention = (qkv[0][:, :, :1] @ qkv[1].mT * block.attn.scale).softmax(-1).mean(1)[:, 0, 1:]
    torch.testing.assert_close(scores["class_attention"](Arriving(x, 1, block, 3)), attention)


def test_random_does_not_follow_the_places():
    drawn = scores["random"](arriving(torch.randn(1, 257, 24)))[0]
    assert len(drawn.unique()) > 250
    assert abs(float(torch.corrcoef(torch.stack([drawn, torch.arange(256.0)]))[0, 1])) < 0.15


def test_a_score_of_ones_own_is_used_by_its_name():
    @infoprune.tokens.scores.register("first channel")
    def first_channel(tokens):
        return tokens.patches[..., 0]

    model = infoprune.tokens.sparsify_(vit(), schedule={1: 0.5}, score="first channel")
    assert model.blocks[1].keep_tokens.score == "first channel"
    del infoprune.tokens.scores._factories["first channel"]
