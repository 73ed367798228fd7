"""Transformers, a block or two of each kind: what shrinks, exactly where it can be, saved and loaded."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_pruning as tp
from timm.models import convnext, deit, maxxvit, swin_transformer, swin_transformer_v2
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import infoprune as ip
from infoprune.errors import UnknownName
from infoprune.graph import Graph

L2 = tp.importance.MagnitudeImportance(p=2)
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4, "num_classes": 5}
SWIN = {"img_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4)}


def vit() -> nn.Module:
    return VisionTransformer(**VIT)


def deit3() -> nn.Module:
    return VisionTransformer(**VIT, no_embed_class=True, init_values=0.1)


def distilled() -> nn.Module:
    return deit.VisionTransformerDistilled(**VIT)


def registers() -> nn.Module:
    return VisionTransformer(**VIT, reg_tokens=2, qk_norm=True)


def swin() -> nn.Module:
    return swin_transformer.SwinTransformer(**SWIN, num_classes=5)


def convnext_tiny() -> nn.Module:
    return convnext.ConvNeXt(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32), num_classes=5, ls_init_value=0.1)


def maxvit() -> nn.Module:
    attention = maxxvit.MaxxVitTransformerCfg(dim_head=8, window_size=(4, 4))
    shape = {"embed_dim": (16, 32), "depths": (1, 1), "block_type": ("M", "M"), "stem_width": 16}
    config = maxxvit.MaxxVitCfg(**shape, transformer_cfg=attention)
    return maxxvit.MaxxVit(config, img_size=32, num_classes=5)


HEADS = {
    vit: {"blocks.0.attn.qkv": (4, 36), "blocks.1.attn.qkv": (4, 36)},
    deit3: {"blocks.0.attn.qkv": (4, 36), "blocks.1.attn.qkv": (4, 36)},
    distilled: {"blocks.0.attn.qkv": (4, 36), "blocks.1.attn.qkv": (4, 36)},
    registers: {"blocks.0.attn.qkv": (4, 36), "blocks.1.attn.qkv": (4, 36)},
    swin: {f"layers.{i}.blocks.{j}.attn.qkv": (2 << i, 36) for i in range(2) for j in range(2)},
    convnext_tiny: {},
    maxvit: {f"stages.{i}.blocks.0.attn_{kind}.attn.qkv": (2 << i, 24) for i in range(2) for kind in ("block", "grid")},
}


def made(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build().eval()


def pictures() -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def prunes_and_comes_back(
    model: nn.Module, x: Any, build: Callable[[], nn.Module], place: Any, **options: Any
) -> ip.Certificate:
    """Half of everything leaves; what remains is the masked original with the norms of what is kept."""
    inputs = x if isinstance(x, tuple) else (x,)
    plan = ip.plan(model, x, L2, rates=0.5, **options)
    certificate = ip.certificate_of(model, x, plan)
    assert certificate.verdict == ("not exact by design" if certificate.statistics else "exact"), str(certificate)
    assert certificate.compared
    ip.prune_(model, x, plan, certify=False)
    measured = ip.measure(model, x)
    assert (measured.macs, measured.params) == (plan.prices["macs"].after, plan.prices["params"].after)
    ip.save(place, model, plan)
    again = ip.load(place, factory=build)
    with torch.no_grad():
        assert type(again(*inputs)) is type(model(*inputs))
        assert torch.equal(first(again(*inputs)), first(model(*inputs)))
    return certificate


def first(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


LATER = {deit3, distilled, registers, maxvit}  # of what vit and swin are made of, too


@pytest.mark.parametrize(
    "build",
    [pytest.param(build, marks=pytest.mark.slow) if build in LATER else build for build in HEADS],
    ids=lambda build: build.__name__,
)
def test_vision_transformers_lose_heads_mlp_widths_and_embedding_width(build, tmp_path):
    model = made(build)
    graph = Graph.trace(model, pictures())
    assert not graph.quarantined
    heads = {s.name: (s.size, s.step) for s in graph.sites if s.name.endswith("qkv")}
    assert heads == HEADS[build]
    mlps = {n for n, m in model.named_modules() if n.endswith("mlp.fc1")}
    assert mlps <= set(graph.couplings)
    assert any(s.name in ("patch_embed.proj", "stem.0", "stem.conv1") for s in graph.sites)
    prunes_and_comes_back(model, pictures(), build, tmp_path / "saved")


@pytest.mark.parametrize(
    ("build", "where", "site", "statistics"),
    [
        (vit, "blocks", "blocks.1.attn.qkv", ("attention scale", "layer norm")),
        pytest.param(
            registers, "blocks", "blocks.1.attn.qkv", ("attention scale", "layer norm"), marks=pytest.mark.slow
        ),
        pytest.param(swin, "layers", "layers.0.blocks.1.attn.qkv", ("layer norm",), marks=pytest.mark.slow),
        pytest.param(
            maxvit,
            "stages",
            "stages.1.blocks.0.attn_grid.attn.qkv",
            ("attention scale", "layer norm"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_heads_that_stay_lose_the_same_dimensions_of_queries_keys_and_values(build, where, site, statistics, tmp_path):
    model = made(build)
    whole = {s.name: (s.size, s.step) for s in Graph.trace(model, pictures(), verify=False).sites}
    graph = Graph.trace(model, pictures(), head_dims=[where])
    assert not graph.quarantined
    heads, step = whole[site]
    dimensions = step // 3
    assert {s.name: (s.size, s.step) for s in graph.sites}[site] == (dimensions, 3 * heads)
    certificate = prunes_and_comes_back(model, pictures(), build, tmp_path / "saved", head_dims=[where])
    assert certificate.statistics == statistics


def test_dimensions_leave_where_they_are_asked_for_and_heads_elsewhere():
    model = made(vit)
    graph = Graph.trace(model, pictures(), head_dims=[model.blocks[1].attn])
    assert [(s.size, s.step) for s in graph.sites if "qkv" in s.name] == [(4, 36), (12, 12)]
    with pytest.raises(UnknownName, match=r"'blocks\.1\.atn', which is no module"):
        Graph.trace(model, pictures(), head_dims=["blocks.1.atn"])


def test_a_head_takes_its_bias_table_along_when_another_module_holds_it():
    model = made(maxvit)
    site = Graph.trace(model, pictures()).couplings["stages.0.blocks.0.attn_block.attn.qkv"]
    tables = {slot.tensor for slot in site.slots}
    assert "stages.0.blocks.0.attn_block.attn.rel_pos.relative_position_bias_table" in tables
    named = {(a.module.rpartition(".")[2], a.name, a.position) for a in site.attributes}
    assert {("attn", "num_heads", None), ("rel_pos", "bias_shape", 2)} <= named


def test_tokens_and_coordinates_are_not_channels():
    """Registers meet in a softmax; the coordinates of a bias network come from a buffer."""
    assert not any("reg_token" in s.name for s in Graph.trace(made(registers), pictures(), verify=False).sites)
    model = made(lambda: swin_transformer_v2.SwinTransformerV2(**SWIN, num_classes=5))
    assert not any("coords" in s.name for s in Graph.trace(model, pictures(), verify=False).sites)


# ------------------------------------------------------------------------------------ the transformers package's own

SMALL = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def hugging_face(kind: str) -> tuple[Callable[[], nn.Module], Any]:
    """A builder from a config (nothing is fetched) and inputs."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    vision = {"image_size": 32, "patch_size": 8, "num_labels": 5, **SMALL}
    text = {"vocab_size": 50, "max_position_embeddings": 32, "num_labels": 3, **SMALL}
    words = torch.randint(0, 50, (2, 12), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(12) < torch.tensor([[12], [7]])).long()
    builders: dict[str, tuple[Callable[[], nn.Module], Any]] = {
        "vit": (lambda: transformers.ViTForImageClassification(transformers.ViTConfig(**vision)), pictures()),
        "deit": (lambda: transformers.DeiTForImageClassification(transformers.DeiTConfig(**vision)), pictures()),
        "bert": (lambda: transformers.BertForSequenceClassification(transformers.BertConfig(**text)), words),
        "masked bert": (lambda: transformers.BertModel(transformers.BertConfig(**text)), (words, mask)),
    }
    return builders[kind]


@pytest.mark.filterwarnings("ignore")  # the package warns about itself
@pytest.mark.parametrize(
    "kind", ["vit", "bert", *(pytest.param(k, marks=pytest.mark.slow) for k in ("deit", "masked bert"))]
)
def test_models_of_the_transformers_package_prune_save_and_load(kind, tmp_path):
    build, x = hugging_face(kind)
    model = made(build)
    graph = Graph.trace(model, x)
    assert not graph.quarantined
    heads = [s for s in graph.sites if s.name.endswith(("q_proj", "query"))]
    assert [(s.size, s.step) for s in heads] == [(4, 12)] * 2
    assert {a.name for a in graph.couplings[heads[0].name].attributes} >= {"num_attention_heads"}
    widths = {s.size for s in graph.sites}
    assert widths == ({4, 64} if kind == "masked bert" else {4, 48, 64})  # its embeddings are its output
    certificate = prunes_and_comes_back(model, x, build, tmp_path / "saved")
    assert certificate.statistics == (() if kind == "masked bert" else ("layer norm",))


@pytest.mark.filterwarnings("ignore")  # the package warns about itself
def test_dimensions_of_heads_leave_exactly_where_the_scale_is_given(tmp_path):
    build, x = hugging_face("masked bert")
    model = made(build)
    sites = {s.name: (s.size, s.step) for s in Graph.trace(model, x, head_dims=["encoder"]).sites}
    assert sites["encoder.layer.0.attention.self.query"] == (12, 4)
    certificate = prunes_and_comes_back(model, x, build, tmp_path / "saved", head_dims=["encoder"])
    assert certificate.verdict == "exact"
