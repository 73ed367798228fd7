"""Decoders: widths, heads, streams and whole layers leave; prices are counts, and `generate` goes on as if masked."""

import copy

import pytest
import torch
from tests.masked_by_hand import L2, masked_by_hand, prunes_right
from tests.small_decoders import BY_KIND, decoder, generated, ids
from tests.torch_flops import torch_flops

pytest.importorskip("transformers", reason="transformers is not installed")

import infoprune as ip

pytestmark = pytest.mark.filterwarnings("ignore")  # the package warns about itself
STREAMS = {"GPT2": "transformer.h.0.attn.c_proj", "GPTNeoX": "gpt_neox.layers.0.attention.dense",
           "OPT": "model.decoder.layers.0.self_attn.out_proj", "Phi": "model.layers.0.self_attn.dense"}  # fmt: skip
ROUTED = ("Mixtral", "Qwen2Moe", "Qwen3Moe")
BUDGETS = (ip.budgets.params, ip.budgets.macs, ip.budgets.bytes, ip.budgets.kv_cache)


def stream(name):
    return STREAMS.get(name, "model.layers.0.self_attn.o_proj")


@BY_KIND
def test_everything_but_the_stream_leaves_as_if_masked(name):
    """Half of every MLP, of the inner width of experts, and of the key heads with their queries."""
    model = decoder(name)
    sites = {site.name: site for site in ip.Graph.trace(model, ids()).sites}
    heads, widths = (
        [
            s
            for s in sites.values()
            if ("attn" in s.name or "attention" in s.name) == of_heads and s.name != stream(name)
        ]
        for of_heads in (True, False)
    )
    assert len(heads) == 3
    assert len(widths) >= 3
    assert all(site.size == getattr(model.config, "num_key_value_heads", 4) for site in heads)
    assert sites[stream(name)].size * sites[stream(name)].step == 32
    rates = {site.name: 0.5 for site in (*heads, *widths)}
    dtype = torch.float32 if name in ROUTED else torch.float64  # experts multiply in single precision alone
    plan = prunes_right(model, ids(), ids(1, 21), rates=rates, dtype=dtype)
    masked = masked_by_hand(model, ids(), plan)
    pruned = ip.prune_(model, ids(), plan)
    assert torch.equal(generated(pruned, ids(3, 5)), generated(masked, ids(3, 5)))


@BY_KIND
def test_planned_prices_are_counted_ones_and_the_artefact_reloads(name, tmp_path):
    """The hidden size leaves too; multiply-adds are counted by torch, bytes and caches in memory."""
    model = decoder(name)
    graph = ip.Graph.trace(model, ids())
    plan = ip.plan(model, ids(), L2, rates=0.3)
    assert stream(name) in plan.widths
    priced = [[plan.widths.get(site.name, site.size) for site in graph.sites]]
    costs = [budget(keep=0.5).cost(graph).prices(priced)[0] for budget in BUDGETS]
    pruned = ip.prune_(model, ids(), plan)
    assert costs == [budget(keep=0.5).measure(pruned, ids()) for budget in BUDGETS]
    if name not in ROUTED:  # which experts run, and so how often, depends on the weights
        assert plan.prices["macs"].after == torch_flops(pruned, ids()) // 2
    assert plan.prices["params"].after == sum(p.numel() for p in pruned.parameters())
    ip.save(tmp_path / "pruned", pruned, plan)
    again = ip.load(tmp_path / "pruned")
    assert torch.equal(again(ids()).logits, pruned(ids()).logits)
    assert torch.equal(generated(again, ids(1, 4)), generated(pruned, ids(1, 4)))


@BY_KIND
def test_whole_layers_leave_and_generate_goes_on_as_if_they_gave_zeros(name, tmp_path):
    """Every second layer leaves; the first one's attention, by which a cache tells how far it is, can't."""
    model = decoder(name)
    units = [site.name for site in ip.skip_units(model, ids())]
    layers = {i: [unit for unit in units if f".{i}." in unit] for i in range(3)}
    assert [len(found) for found in layers.values()] == [1, 2, 2]
    assert not any("att" in unit for unit in layers[0])
    plan = ip.Plan(tuple(edit for edit in removals(model) if edit.site.name in layers[1]))
    masked = copy.deepcopy(model)
    for edit in plan.edits:
        masked.get_submodule(edit.unit.branch_end).register_forward_hook(zeros)
    pruned = ip.prune_(model, ids(), plan)
    assert sum(p.numel() for p in pruned.parameters()) < sum(p.numel() for p in masked.parameters())
    assert torch.equal(generated(pruned, ids(3, 5)), generated(masked, ids(3, 5)))
    ip.save(tmp_path / "pruned", pruned, plan)
    assert torch.equal(generated(ip.load(tmp_path / "pruned"), ids(3, 5)), generated(masked, ids(3, 5)))


def removals(model):
    from infoprune.depth.units import removals

    return removals(model, ids())


def zeros(_, __, output):
    return (torch.zeros_like(output[0]), *output[1:]) if isinstance(output, tuple) else torch.zeros_like(output)
