"""What timm's own methods need after surgery."""

import pytest
import timm
import torch
import torch_pruning as tp

import infoprune as ip

L2 = tp.importance.MagnitudeImportance(p=2)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "vit_tiny_patch16_224",
        pytest.param("convnext_atto", marks=pytest.mark.slow),
        pytest.param("mobilenetv3_small_050", marks=pytest.mark.slow),
    ],
)
def test_a_pruned_model_can_be_given_another_classifier(name):
    torch.manual_seed(0)
    x = torch.randn(1, 3, 64, 64)
    model = timm.create_model(name, **({"img_size": 64, "depth": 2} if "vit" in name else {})).eval()
    ip.prune_(model, x, ip.plan(model, x, L2, rates=0.5))
    model.reset_classifier(3)
    assert model(x).shape == (1, 3)
    last = getattr(model, "conv_head", model.get_classifier())
    assert model.num_features == last.weight.shape[1]


def test_heads_and_their_sizes_stay_in_step():
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=64).eval()
    x = torch.randn(1, 3, 64, 64)
    ip.prune_(model, x, ip.plan(model, x, L2, rates={f"blocks.{i}.attn.qkv": 1 / 3 for i in range(12)}))
    attention = model.blocks[0].attn
    assert (attention.num_heads, attention.head_dim, attention.qkv.out_features) == (2, 64, 3 * 2 * 64)
