"""Networks that are followed on the meta device: the same sites and prices, and nothing said that was not seen."""

import pytest
import timm
import torch
import torch_pruning as tp
from tests.small_decoders import DECODERS, OFTEN, decoder, ids
from torch import nn

import infoprune as ip
from infoprune.errors import BadWeights, NotCompared, Untraceable
from infoprune.graph import Graph

X = torch.randn(1, 3, 64, 64)


def on_meta(make):
    with torch.device("meta"):
        return make().eval()


def small_swin():
    return timm.create_model("swin_tiny_patch4_window7_224", img_size=64, depths=(1, 1, 1, 1), window_size=2)


@pytest.mark.parametrize("make", [
    lambda: timm.create_model("resnet10t"),
    lambda: timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2),
    pytest.param(lambda: timm.create_model("mobilenetv2_035"), marks=pytest.mark.slow),
    pytest.param(small_swin, marks=pytest.mark.slow),
])  # fmt: skip
def test_the_sites_and_prices_are_those_of_the_network_that_runs(make):
    model = make().eval()
    runs, by_shapes = Graph.trace(model, X), Graph.trace(model, X, shapes_alone=True)
    assert by_shapes.by_shapes
    assert not runs.by_shapes
    assert by_shapes.couplings == runs.couplings
    counts = [1 + site.size // 2 for site in runs.sites]
    assert [by_shapes.cost(r)(counts) for r in ("macs", "params")] == [runs.cost(r)(counts) for r in ("macs", "params")]


def test_a_layer_too_large_for_any_machine_is_followed():
    """10 billion weights, and labels of 8 bytes each where a plane were written out."""
    model = on_meta(lambda: nn.Sequential(nn.Linear(10, 100_000), nn.ReLU(), nn.Linear(100_000, 100_000), nn.ReLU(),
                                          nn.Linear(100_000, 10)))  # fmt: skip
    graph = Graph.trace(model, torch.randn(1, 10))
    assert [site.size for site in graph.sites] == [100_000, 100_000]
    assert graph.cost("macs")([50_000, 20_000]) == 10 * 50_000 + 50_000 * 20_000 + 20_000 * 10


def test_code_that_computes_with_a_width_as_it_was_is_found_by_shapes():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.c(self.b(self.a(x)).add(torch.ones(6, device=x.device)))

    graph = Graph.trace(on_meta(Named), torch.randn(1, 4))
    assert [site.size for site in graph.sites] == [8]


ROUTED = ("Mixtral", "Qwen2Moe", "Qwen3Moe")  # values say which expert sees a token


FOLLOWED = [n if n in OFTEN else pytest.param(n, marks=pytest.mark.slow) for n in DECODERS if n not in ROUTED]


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_decoder_without_weights_is_planned_and_cut_as_the_one_with_weights_is(name):
    x = {"input_ids": ids()}
    random, budget = tp.importance.RandomImportance(), ip.budgets.params(keep=0.6)
    bare, full = on_meta(lambda: decoder(name)), decoder(name)
    torch.manual_seed(0)
    plan = ip.plan(bare, x, random, budgets=[budget])
    torch.manual_seed(0)
    same = ip.plan(full, x, random, budgets=[budget])
    assert plan.edits == same.edits
    assert plan.prices == same.prices
    assert plan.made_by["checked"] == "by shapes alone"
    assert "checked" not in same.made_by
    with pytest.warns(NotCompared, match="on the meta device and have no values"):
        ip.prune_(bare, x, plan)
    ip.prune_(full, x, plan)
    assert {n: p.shape for n, p in bare.named_parameters()} == {n: p.shape for n, p in full.named_parameters()}


def test_weights_that_are_not_there_rank_nothing():
    model = on_meta(lambda: timm.create_model("resnet10t"))
    for importance in (ip.importance.CapacityImportance(), tp.importance.MagnitudeImportance()):
        with pytest.raises(BadWeights, match=f"have no values for {type(importance).__name__}; load them"):
            ip.plan(model, X, importance, rates=0.5)


@pytest.mark.parametrize("name", ROUTED)
def test_tokens_that_are_sent_by_their_values_are_not_followed_by_shapes(name):
    with pytest.raises(Untraceable, match="depends on values, and on the meta device there are none"):
        Graph.trace(decoder(name), {"input_ids": ids()}, shapes_alone=True)


def test_what_needs_values_says_so():
    model = on_meta(lambda: timm.create_model("resnet10t"))
    with pytest.raises(Untraceable, match="whole blocks are found by what a model computes"):
        ip.skip_units(model, X)
    with pytest.raises(Untraceable, match="depends on values, and on the meta device there are none"):
        Graph.trace(on_meta(small_swin), X)


def test_weights_of_which_a_part_is_there_are_planned_by_shapes_and_ranked_by_what_is_there():
    model, full = on_meta(lambda: timm.create_model("resnet10t")), timm.create_model("resnet10t").eval()
    there = {name: tensor for name, tensor in full.state_dict().items() if name.startswith("layer1")}
    model.load_state_dict(there, strict=False, assign=True)
    with pytest.raises(Untraceable, match=r"conv1\.0\.weight is on the meta device and others are not; load all"):
        ip.plan(model, X, tp.importance.MagnitudeImportance(), rates={"layer1.0.conv1": 0.5})
    asked = {"rates": 0.5, "ignored_layers": ["conv1", "layer1.0.conv2", "layer2", "layer3", "layer4"]}
    plan = ip.plan(model, X, tp.importance.MagnitudeImportance(), **asked, shapes_alone=True)
    assert plan.edits == ip.plan(full, X, tp.importance.MagnitudeImportance(), **asked).edits
    assert len(plan.edits) == 1


@pytest.mark.parametrize("other", [{"depth": ip.DepthPath(seen={})}, {"tokens": ip.TokenPath()}])
def test_blocks_and_tokens_are_not_chosen_by_shapes(other):
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2).eval()
    with pytest.raises(ValueError, match="leave them out, or shapes_alone"):
        ip.plan(model, X, tp.importance.MagnitudeImportance(), budgets=[ip.budgets.macs(keep=0.5)], shapes_alone=True,
                **other)  # fmt: skip


def test_budgets_that_follow_the_network_again_say_the_same_and_one_that_times_it_says_why_not():
    model = decoder("Llama")
    runs, by_shapes = (Graph.trace(model, {"input_ids": ids()}, shapes_alone=alone) for alone in (False, True))
    counts = [site.size // 2 for site in runs.sites]
    for budget in (ip.budgets.kv_cache(keep=0.5), ip.budgets.bytes(keep=0.5), ip.budgets.activations(keep=0.5)):
        assert budget.cost(by_shapes)(counts) == budget.cost(runs)(counts)
    with pytest.raises(Untraceable, match="latency is measured on a network that runs"):
        ip.budgets.latency(keep=0.5).cost(by_shapes)


def small_resnet():
    return timm.create_model("resnet10t", num_classes=4)


@pytest.fixture(scope="module")
def half():
    return ip.plan(small_resnet().eval(), X, tp.importance.RandomImportance(), rates=0.5)


PICTURES, RANDOM = [torch.randn(16, 3, 64, 64)], tp.importance.RandomImportance()
NEED_VALUES = {
    "save": lambda dense, pruned, plan, out: ip.save(out, pruned, plan),
    "save_plain": lambda dense, pruned, plan, out: ip.save_plain(out, pruned, plan),
    "export": lambda dense, pruned, plan, out: ip.export(pruned, X, out.with_suffix(".pt2")),
    "observe": lambda dense, pruned, plan, out: ip.observe(dense, PICTURES, progress=False),
    "curves": lambda dense, pruned, plan, out: ip.layerwise.curves(dense, PICTURES, RANDOM, progress=False),
    "compensate_": lambda dense, pruned, plan, out: ip.compensate_(pruned, dense, PICTURES, progress=False),
    "measure": lambda dense, pruned, plan, out: ip.measure(dense, X.to("meta"), latency=True),
}


@pytest.mark.parametrize("name", NEED_VALUES)
def test_nothing_is_written_or_fitted_without_values(name, half, tmp_path):
    pruned = ip.prune_(on_meta(small_resnet), X, half, certify=False)
    with pytest.raises(BadWeights, match=r"on the meta device, with no values .*; load the weights first"):
        NEED_VALUES[name](on_meta(small_resnet), pruned, half, tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_surgery_takes_the_example_that_was_planned_with():
    for model, x in ((on_meta(small_resnet), X), (on_meta(lambda: decoder("Llama")), ids())):
        plan = ip.plan(model, x, tp.importance.RandomImportance(), rates=0.5)
        with pytest.warns(NotCompared, match="on the meta device and have no values"):
            ip.prune_(model, x, plan)
