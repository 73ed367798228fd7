"""Decoders of the transformers package beyond attention: experts, state spaces, gated and transposed layers."""

import pytest
import torch
import torch.nn.functional as F
from tests.masked_by_hand import L2, prunes_right
from torch import nn

import infoprune as ip
from infoprune.graph import Graph

pytestmark = pytest.mark.filterwarnings("ignore")  # the package warns about itself
SMALL = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "max_position_embeddings": 64, "use_cache": False, "pad_token_id": 0,
}  # fmt: skip
FEW = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}


def ids(*shape):
    return torch.randint(1, 60, shape, generator=torch.Generator().manual_seed(1))


class Routed(nn.Module):
    """Rows in the order of their experts, as many for each as the example's."""

    def __init__(self):
        super().__init__()
        self.up, self.down = (nn.Parameter(torch.randn(shape) / 4) for shape in ((3, 32, 16), (3, 16, 16)))
        self.i, self.o = nn.Linear(6, 16), nn.Linear(16, 4)

    def forward(self, x):
        ends = torch.tensor([len(x) // 4, len(x) // 2, len(x)], dtype=torch.int32)
        gate, value = F.grouped_mm(self.i(x), self.up.transpose(1, 2), offs=ends).chunk(2, -1)
        return self.o(F.grouped_mm(F.silu(gate) * value, self.down.transpose(1, 2), offs=ends))


def test_experts_in_one_grouped_product_lose_blocks_of_inner_channels():
    net = Routed()
    graph = Graph.trace(net.eval(), torch.randn(8, 6))
    assert {s.name: (s.size, s.step) for s in graph.sites} == {"i": (2, 8), "up": (2, 16), "down": (2, 8)}
    prunes_right(net, torch.randn(8, 6), torch.randn(20, 6), dtype=torch.float32, certify=False)


def mixture(name, **options):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = getattr(transformers, f"{name}Config")(**SMALL, **options)
    config._experts_implementation = "eager"
    return getattr(transformers, f"{name}ForCausalLM")(config)


MIXTURES = {
    "Mixtral": ({"num_local_experts": 4}, 48, ("gate_up_proj", "down_proj")),
    "Qwen3Moe": ({"head_dim": 8, **FEW}, 24, ("gate_up_proj", "down_proj")),
    "Qwen2Moe": ({"shared_expert_intermediate_size": 40, **FEW}, 24, ("gate_up_proj", "down_proj")),
}


@pytest.mark.parametrize("name", ["Mixtral", "Qwen2Moe", pytest.param("Qwen3Moe", marks=pytest.mark.slow)])
def test_all_experts_of_a_layer_lose_the_same_inner_channels_and_none_leaves(name):
    options, width, _ = MIXTURES[name]
    model = mixture(name, **options).eval()
    graph = Graph.trace(model, ids(2, 12))
    inner = {s.name: (s.size, s.step) for s in graph.sites if "experts" in s.name}
    assert inner == {f"model.layers.{i}.mlp.experts.gate_up_proj": (width, 2) for i in (0, 1)}
    rates = dict.fromkeys(inner, 0.5)
    if name == "Qwen2Moe":
        rates |= {f"model.layers.{i}.mlp.shared_expert.gate_proj": 0.5 for i in (0, 1)}
    prunes_right(model, ids(2, 12), ids(1, 30), rates=rates)


def test_gate_and_value_of_a_fused_layer_leave_together():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    model = transformers.Phi3ForCausalLM(transformers.Phi3Config(**SMALL)).eval()
    sites = {s.name: (s.size, s.step) for s in Graph.trace(model, ids(2, 12)).sites}
    names = [f"model.layers.{i}.mlp.gate_up_proj" for i in (0, 1)]
    assert [sites[name] for name in names] == [(48, 2)] * 2
    prunes_right(model, ids(2, 12), ids(1, 30), rates=dict.fromkeys(names, 0.5))


def test_mamba_loses_inner_channels_states_and_steps():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.MambaConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=8, time_step_rank=4, use_cache=False
    )
    model = transformers.MambaForCausalLM(config).eval()
    graph = Graph.trace(model, ids(2, 10))
    assert not graph.quarantined
    sites = {s.name.removeprefix("backbone.layers."): (s.size, s.step) for s in graph.sites}
    assert sites == {
        "0.mixer.out_proj": (32, 1),
        **{f"{i}.mixer.in_proj": (64, 2) for i in (0, 1)},
        **{f"{i}.mixer.x_proj": (8, 2) for i in (0, 1)},
        **{f"{i}.mixer.x_proj#2": (4, 1) for i in (0, 1)},
    }
    prunes_right(model, ids(2, 10), ids(1, 17), rates={s.name: 0.5 for s in graph.sites if "out_proj" not in s.name})


def test_gpt_2_loses_stream_heads_and_inner_width():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.GPT2Config(
        vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2, use_cache=False
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    graph = Graph.trace(model, ids(2, 10))
    assert not graph.quarantined
    sites = {s.name.removeprefix("transformer.h."): (s.size, s.step) for s in graph.sites}
    blocks = {f"{i}.attn.c_attn": (4, 24) for i in (0, 1)} | {f"{i}.mlp.c_fc": (128, 1) for i in (0, 1)}
    assert sites == {"0.attn.c_proj": (32, 1), **blocks}
    prunes_right(model, ids(2, 10), ids(1, 33), rates={f"transformer.h.{name}": 0.5 for name in blocks})
    plan = ip.plan(model, ids(2, 10), L2, rates=0.5)
    assert ip.certificate_of(model, ids(2, 10), plan).compared


def test_rotated_halves_of_heads_leave_as_heads():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.GPTNeoXConfig(**{k: v for k, v in SMALL.items() if k != "num_key_value_heads"})
    model = transformers.GPTNeoXForCausalLM(config).eval()
    names = [f"gpt_neox.layers.{i}.attention.query_key_value" for i in (0, 1)]
    sites = {s.name: (s.size, s.step) for s in Graph.trace(model, ids(2, 10)).sites}
    assert [sites[name] for name in names] == [(4, 24)] * 2
    prunes_right(model, ids(2, 10), ids(1, 20), rates=dict.fromkeys(names, 0.5))
