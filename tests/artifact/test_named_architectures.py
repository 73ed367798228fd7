"""Networks of the transformers package are found again by name and config, as the docs promise."""

import pytest
import torch
import torch_pruning as tp

import infoprune as ip
from infoprune.artifact import hugging_face, read_config
from infoprune.errors import BadArtifact
from infoprune.graph.arguments import Arguments

transformers = pytest.importorskip("transformers")

L2 = tp.importance.MagnitudeImportance(p=2)


def detr():
    backbone = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage4"],
    )  # fmt: skip
    config = transformers.DetrConfig(
        use_timm_backbone=False, backbone_config=backbone, backbone=None, use_pretrained_backbone=False, d_model=32,
        encoder_layers=1, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=48,
        decoder_ffn_dim=48, num_queries=10, num_labels=5,
    )  # fmt: skip
    return transformers.DetrForObjectDetection(config), {"pixel_values": torch.rand(1, 3, 64, 64)}


def modern_bert():
    """The decoder's weight is the embedding's, under another name."""
    config = transformers.ModernBertConfig(
        vocab_size=100, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        global_attn_every_n_layers=2, local_attention=8, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1,
        sep_token_id=2,
    )  # fmt: skip
    return transformers.ModernBertForMaskedLM(config), {"input_ids": torch.randint(3, 100, (1, 12))}


def wav2vec2():
    """A convolution under weight norm has a class of its own in every network."""
    config = transformers.Wav2Vec2Config(
        vocab_size=20, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        conv_dim=(16, 16, 16), conv_stride=(5, 2, 2), conv_kernel=(10, 3, 3), num_feat_extract_layers=3,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=4, apply_spec_augment=False,
    )  # fmt: skip
    return transformers.Wav2Vec2ForCTC(config), {"input_values": torch.randn(1, 1600)}


@pytest.mark.parametrize(
    "build", [detr, modern_bert, pytest.param(wav2vec2, marks=pytest.mark.slow)], ids=lambda build: build.__name__
)
def test_it_is_pruned_saved_and_loaded_bit_for_bit_without_a_factory(build, tmp_path):
    torch.manual_seed(0)
    model, call = build()
    plan = ip.plan(model.eval(), call, L2, budgets=[ip.budgets.macs(keep=0.7)])
    ip.prune_(model, call, plan)
    ip.save(tmp_path / "a", model, plan)
    assert read_config(tmp_path / "a").answer is not None
    again = ip.load(tmp_path / "a")
    assert type(again) is type(model)
    with torch.no_grad():
        assert torch.equal(Arguments.of(call).run(again)[0], Arguments.of(call).run(model)[0])


@pytest.mark.parametrize(
    "backbone",
    [
        {"model_type": "timm_backbone", "backbone": "hf-hub:someone/else"},
        {"model_type": "timm_backbone", "backbone": "local-dir:/etc"},
        {"model_type": "timm_backbone", "backbone": ["resnet18"]},
        {"model_type": "timm_backbone", "backbone": "resnet18", "use_pretrained_backbone": True},
        {"model_type": "resnet", "hidden_sizes": [1 << 30]},
    ],
    ids=str,
)
def test_a_backbone_that_a_file_names_is_one_that_can_be_built_without_fetching(backbone):
    arguments = {"model_type": "detr", "config": {"backbone_config": backbone}}
    with pytest.raises(BadArtifact):
        hugging_face.check("DetrForObjectDetection", arguments)


def test_a_backbone_of_timm_is_told_by_its_name_and_never_with_its_weights():
    told = {"backbone_config": {"model_type": "timm_backbone", "backbone": "resnet18", "use_pretrained_backbone": True}}
    found = hugging_face.plain(told)
    assert found == {
        "backbone_config": {"model_type": "timm_backbone", "backbone": "resnet18", "use_pretrained_backbone": False}
    }
    hugging_face.check_values(found)
