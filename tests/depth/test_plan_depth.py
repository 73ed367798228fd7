"""Which units stay: energies, strategies, budgets, stages, and depth together with width."""

import copy

import pytest
import torch
from tests.depth.skip_nets import CifarResNet, Dense, Plain, Transformer, randomised

import infoprune as ip
from infoprune.depth import plan_depth_and_width, removals, unit_energies
from infoprune.depth.prices import without
from infoprune.estimators.energy import energy_dependence
from infoprune.graph.counting import count_macs

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
UNITS = [f"layers.{i}" for i in range(6)]
ENERGIES = dict(zip(UNITS, [1.0, 1.1, 5.0, 5.2, 9.0, 9.1], strict=True))


@pytest.fixture
def model():
    return randomised(CifarResNet())


def batches(count=3, size=16, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        labels = torch.randint(classes, (size,), generator=generator)
        yield torch.randn(size, 3, 16, 16, generator=generator) + labels[:, None, None, None], labels


def stays(plan):
    return [u for u in UNITS if u in plan.made_by["stay"]]


# --------------------------------------------------------------------------------------- strategies


def test_the_largest_energy_of_each_cluster_stays(model):
    assert stays(ip.plan_depth(model, X, ENERGIES, clusters=3)) == ["layers.1", "layers.3", "layers.5"]


def test_the_one_nearest_to_the_centre_of_each_cluster_stays(model):
    energies = dict(zip(UNITS, [1.0, 1.6, 1.8, 8.0, 9.0, 9.2], strict=True))  # centres 1.467 and 8.733
    assert stays(ip.plan_depth(model, X, energies, clusters=2, strategy="centroids")) == ["layers.1", "layers.4"]
    assert stays(ip.plan_depth(model, X, energies, clusters=2)) == ["layers.2", "layers.5"]


def test_the_largest_energies_stay(model):
    plan = ip.plan_depth(model, X, ENERGIES, keep_units=3, strategy="largest")
    assert stays(plan) == ["layers.3", "layers.4", "layers.5"]


def test_random_units_stay_by_seed(model):
    plans = [ip.plan_depth(model, X, {}, clusters=3, strategy="random", seed=s) for s in (0, 0, 1, 2, 3)]
    chosen = [tuple(stays(p)) for p in plans]
    assert chosen[0] == chosen[1]
    assert len(set(chosen)) > 1
    assert {len(c) for c in chosen} == {3}


def test_standard_errors_may_come_with_the_energies(model):
    with_errors = {unit: (value, 0.1) for unit, value in ENERGIES.items()}
    assert ip.plan_depth(model, X, with_errors, clusters=3) == ip.plan_depth(model, X, ENERGIES, clusters=3)


def test_as_many_clusters_as_units_remove_nothing(model):
    plan = ip.plan_depth(model, X, ENERGIES, clusters=6)
    assert plan.edits == ()
    assert plan.prices["macs"].keep == 1


def test_greedy_prefers_relevance_and_avoids_a_copy(model):
    seen = ip.unit_energies(model, batches(), X, correlations=True)
    matrix = torch.full((7, 7), 0.1).double().numpy()
    matrix[range(7), range(7)] = 1
    matrix[:6, 6] = matrix[6, :6] = [0.9, 0.85, 0.5, 0.3, 0.2, 0.1]
    matrix[0, 1] = matrix[1, 0] = 1  # the second most relevant repeats the first
    seen = type(seen)(seen.energies, seen.samples, matrix)
    assert stays(ip.plan_depth(model, X, seen, clusters=2, strategy="greedy")) == ["layers.0", "layers.2"]


def test_greedy_needs_correlations(model):
    with pytest.raises(ValueError, match="correlations=True"):
        ip.plan_depth(model, X, ENERGIES, clusters=2, strategy="greedy")


# ----------------------------------------------------------------------------------------- energies


def test_energies_are_those_of_the_branches_before_the_sum(model):
    kept = []
    handle = model.layers[3].bn2.register_forward_hook(lambda m, a, out: kept.append(out.flatten(1).clone()))
    data = list(batches())
    with torch.no_grad():
        for x, _ in data:
            model(x)
    handle.remove()
    expected = energy_dependence(torch.cat(kept), torch.cat([y for _, y in data]))
    value, error = ip.unit_energies(model, data, X)["layers.3"]
    assert value == pytest.approx(float(expected), rel=1e-5)
    assert 0 < error < value


def test_sketched_energies_are_close_to_whole_ones(model):
    data = list(batches())
    whole, narrow = (ip.unit_energies(model, data, X, width=w)["layers.1"][0] for w in (4096, 256))
    assert narrow == pytest.approx(whole, rel=0.1)
    assert narrow != whole


def test_looking_changes_nothing(model):
    model.train()
    state, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    ip.unit_energies(model, batches(), X)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(m._forward_hooks for m in model.modules())


def test_hooks_are_gone_after_an_error(model):
    def broken():
        yield next(batches())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ip.unit_energies(model, broken(), X)
    assert not any(m._forward_hooks for m in model.modules())


def test_memory_is_bounded_by_the_sample(model):
    seen = ip.unit_energies(model, batches(count=6), X, samples=20)
    assert seen.samples == 96


def test_correlations_are_shares(model):
    found = ip.unit_energies(model, batches(), X, correlations=True).correlations
    assert found.shape == (7, 7)
    assert found.min() >= 0
    assert found.max() <= 1
    torch.testing.assert_close(torch.from_numpy(found), torch.from_numpy(found.T.copy()))


@pytest.mark.parametrize("net", [Transformer, Dense])
def test_every_kind_of_unit_has_an_energy(net):
    model = randomised(net())
    shape = (8, 7, 6) if net is Transformer else (8, 3, 16, 16)
    data = [(torch.randn(shape), torch.arange(8) % 2)]
    seen = ip.unit_energies(model, data, data[0][0])
    assert list(seen) == [site.name for site in ip.skip_units(model, data[0][0])]
    assert all(value > 0 for value, _ in seen.values())


# ------------------------------------------------------------------------------------------- prices


def test_prices_are_those_of_the_pruned_network(model):
    plan = ip.plan_depth(model, X, ENERGIES, clusters=3)
    ip.prune_(model, X, plan)
    assert plan.prices["macs"].after == count_macs(model, (X,))
    assert plan.prices["params"].after == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("unit", ["macs", "params"])
def test_a_budget_is_met_with_the_most_units(model, unit):
    budget = getattr(ip.budgets, unit)(keep=0.6)
    plan = ip.plan_depth(model, X, ENERGIES, budgets=budget)
    assert plan.prices[unit].keep <= 0.6
    more = ip.plan_depth(model, X, ENERGIES, clusters=len(stays(plan)) + 1)
    assert more.prices[unit].keep > 0.6


def test_a_latency_budget_is_met_as_measured_with_the_most_units(model, monkeypatch):
    asked = []

    def compare(self, dense, reduced, inputs):
        asked.append(len(ip.skip_units(reduced, X)))
        verdict = "met" if asked[-1] <= 3 else "cannot tell"
        return type("Found", (), {"verdict": verdict, "__str__": lambda self: "0.9 (0.7 to 1.1)"})()

    monkeypatch.setattr(type(ip.budgets.latency(keep=0.5)), "compare", compare)
    plan = ip.plan_depth(model, X, ENERGIES, budgets=ip.budgets.latency(keep=0.5), strategy="largest")
    assert stays(plan) == ["layers.3", "layers.4", "layers.5"]
    assert len(asked) <= 3
    both = [ip.budgets.latency(keep=0.5), ip.budgets.macs(keep=0.01)]
    with pytest.raises(ip.errors.Infeasible, match="macs of"):
        ip.plan_depth(model, X, ENERGIES, budgets=both)


@pytest.mark.slow
def test_a_latency_budget_that_no_depth_reaches_says_what_was_measured(model):
    budget = ip.budgets.latency(at_most="1us", progress=False)
    with pytest.raises(ip.errors.Infeasible, match=r"one unit left .* ms against .* not met"):
        ip.plan_depth(model, X, ENERGIES, budgets=budget)


def test_a_plan_survives_json_and_prints(model):
    plan = ip.plan_depth(model, X, ENERGIES, clusters=4)
    assert ip.Plan.from_json(plan.to_json()) == plan
    assert "layers.0" in str(plan)


# ------------------------------------------------------------------------------------------- stages


def test_stages_remove_what_each_plan_says_and_resume(model):
    looked = []

    def see(now):
        looked.append(len(ip.skip_units(now, X)))
        return ip.unit_energies(now, batches(), X)

    stages = ip.stages(model, X, see, clusters=[5, 3, 2])
    ip.prune_(model, X, next(stages))
    ip.prune_(model, X, next(stages))
    rest = list_and_prune(ip.stages(model, X, see, clusters=[5, 3, 2]), model)
    assert len(rest) == 1
    assert looked == [6, 5, 3]
    assert len(ip.skip_units(model, X)) == 2


def test_stages_resume_from_an_artefact_on_disk(model, tmp_path):
    def see(now):
        return ip.unit_energies(now, batches(), X)

    whole = copy.deepcopy(model)
    expected = list_and_prune(ip.stages(whole, X, see, clusters=[4, 2]), whole)
    first = next(ip.stages(model, X, see, clusters=[4, 2]))
    ip.prune_(model, X, first)
    ip.save(tmp_path / "killed", model, first)
    again = ip.load(tmp_path / "killed", factory=CifarResNet)
    rest = list_and_prune(ip.stages(again, X, see, clusters=[4, 2]), again)
    assert [p.made_by["stay"] for p in rest] == [p.made_by["stay"] for p in expected[1:]]
    ip.save(tmp_path / "done", again, [first, *rest])
    assert torch.equal(ip.load(tmp_path / "done", factory=CifarResNet)(X), whole(X))


def list_and_prune(stages, model):
    done = []
    for plan in stages:
        ip.prune_(model, X, plan)
        done.append(plan)
    return done


def test_a_stage_that_was_not_applied_is_noticed(model):
    stages = ip.stages(model, X, lambda now: ENERGIES, clusters=[5, 3])
    next(stages)
    with pytest.raises(ip.errors.StaleObservations, match="apply each plan"):
        next(stages)


def test_stages_must_fall(model):
    with pytest.raises(ValueError, match="fewer units"):
        next(ip.stages(model, X, lambda now: ENERGIES, clusters=[3, 5]))


# ---------------------------------------------------------------------------------- depth and width


def test_depth_and_width_meet_the_budget_together(model):
    importance = ip.importance.CapacityImportance()
    found = plan_depth_and_width(model, X, importance, ENERGIES, budgets=ip.budgets.macs(keep=0.5))
    assert [d.units for d in found.depths] == sorted((d.units for d in found.depths), reverse=True)
    for depth in found.depths:
        pruned = copy.deepcopy(model)
        ip.prune_(pruned, X, depth.plan)
        assert count_macs(pruned, (X,)) == depth.plan.prices["macs"].after <= 0.5 * count_macs(model, (X,))
    assert found.plan is max(found.depths, key=lambda d: d.worth).plan
    assert str(found).count("chosen") == 1


def test_a_probe_decides_between_depths(model):
    importance = ip.importance.CapacityImportance()
    shallow = plan_depth_and_width(
        model, X, importance, ENERGIES, budgets=ip.budgets.macs(keep=0.5), depths=[6, 4], utility=-1.0,
        probe=lambda pruned: -float(len(ip.skip_units(pruned, X))),
    )  # fmt: skip
    assert len(shallow.plan.made_by["dropped"]) == 2


def test_weights_of_the_dense_model_follow_sites_whose_names_leave_with_a_block():
    """layer2.0 leaves, after which the streams that it wrote first are called after layer2.1."""
    torch.manual_seed(0)
    model, x = randomised(ip.models.resnet20_cifar()), torch.zeros(1, 3, 32, 32)
    weights = {site.name: 1.0 + i for i, site in enumerate(ip.Graph.trace(model, x).sites)}
    energies = {
        unit.name: 1.0 if unit.name == "layer2.0" else 9.0 + i for i, unit in enumerate(ip.skip_units(model, x))
    }
    importance, budget = ip.importance.IndependenceImportance(), ip.budgets.macs(keep=0.4)
    found = plan_depth_and_width(
        model, x, importance, energies, budgets=budget, depths=[8], strategy="largest", layer_importance=weights
    )
    assert found.plan.made_by["dropped"] == ["layer2.0"]
    shallow = without(model, [edit for edit in removals(model, x) if edit.unit.name == "layer2.0"])
    names = {site.name: site.name for site in ip.Graph.trace(shallow, x).sites}
    renamed = {name: name.replace("2.1", "2.0") for name in ("layer2.1.conv2", "layer2.1.conv2#2")}
    assert set(renamed) == set(names) - set(weights)
    names |= renamed
    limit = ip.budgets.macs(at_most=budget.limit(count_macs(model, (x,))))
    by_hand = {name: weights[dense] for name, dense in names.items()}
    alone = ip.plan(shallow, x, importance, budgets=[limit], layer_importance=by_hand)
    assert found.plan.widths == alone.widths | {"layer2.0": 0}

    sizes = {site.name: site.size for site in ip.Graph.trace(model, x).sites}
    shares = {dense: alone.widths.get(name, sizes[dense]) / sizes[dense] for name, dense in names.items()}
    shares["layer2.0.conv1"] = 0.1  # the floor
    assert found.depths[0].worth == pytest.approx(sum(weights[name] * (1 - 1 / a) for name, a in shares.items()))


def test_measured_curves_share_a_budget_with_blocks(model):
    importance, data = ip.importance.CapacityImportance(), list(batches())
    curves = ip.layerwise.curves(model, data, importance, progress=False)
    path = ip.DepthPath(ENERGIES, depths=[3])
    plans = [
        ip.plan(model, X, importance, budgets=[ip.budgets.macs(keep=0.4)], depth=path, layer_importance=layers)
        for layers in (curves, None)
    ]
    assert plans[0].widths != plans[1].widths
    ip.prune_(copy.deepcopy(model), X, plans[0])


def test_depths_out_of_reach_are_told_and_left_out(model):
    importance = ip.importance.CapacityImportance()
    with pytest.raises(ip.errors.Infeasible, match="no depth"):
        plan_depth_and_width(model, X, importance, ENERGIES, budgets=ip.budgets.macs(keep=0.001))
    with pytest.raises(ValueError, match="6 skip units"):
        plan_depth_and_width(model, X, importance, ENERGIES, budgets=ip.budgets.macs(keep=0.5), depths=[7])


# ---------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("count", [0, -1, 7, 2.5, True])
@pytest.mark.parametrize("how", ["clusters", "keep_units"])
def test_impossible_numbers_of_units_are_refused(model, how, count):
    with pytest.raises(ValueError, match="6 skip units"):
        ip.plan_depth(model, X, ENERGIES, **{how: count})


@pytest.mark.parametrize(
    "how", [{}, {"clusters": 2, "keep_units": 2}, {"clusters": 2, "budgets": ip.budgets.macs(keep=0.5)}]
)
def test_exactly_one_way_to_say_how_many(model, how):
    with pytest.raises(ValueError, match="give one of"):
        ip.plan_depth(model, X, ENERGIES, **how)


def test_a_model_without_skip_units_is_refused():
    for attempt in (
        lambda: ip.plan_depth(Plain(), X, {}, clusters=1),
        lambda: ip.unit_energies(Plain(), batches(), X),
        lambda: next(ip.stages(Plain(), X, lambda m: {}, clusters=[1])),
    ):
        with pytest.raises(ip.errors.Untraceable, match="no skip unit"):
            attempt()


def test_an_unreachable_budget_names_the_cheapest_price(model):
    with pytest.raises(ip.errors.Infeasible, match="one unit left"):
        ip.plan_depth(model, X, ENERGIES, budgets=ip.budgets.macs(keep=0.05))


def test_one_class_or_no_data_is_refused(model):
    x = torch.randn(4, 3, 16, 16)
    for data in ([(x, torch.zeros(4, dtype=torch.long))], []):
        with pytest.raises(ip.InfopruneError, match="at least two classes"):
            ip.unit_energies(model, data, X)


def test_nan_activations_are_refused(model):
    x = torch.full((4, 3, 16, 16), float("nan"))
    with pytest.raises(ip.InfopruneError, match="NaN or infinite"):
        ip.unit_energies(model, [(x, torch.arange(4))], X)
    with pytest.raises(ip.InfopruneError, match="not a finite number"):
        ip.plan_depth(model, X, {**ENERGIES, "layers.2": float("nan")}, clusters=2)
    assert not any(m._forward_hooks for m in model.modules())


def test_energies_of_another_model_are_refused(model):
    with pytest.raises(ip.errors.StaleObservations, match="lack"):
        ip.plan_depth(model, X, {"layers.0": 1.0}, clusters=2)
    with pytest.raises(ip.errors.StaleObservations, match="no units"):
        ip.plan_depth(model, X, {**ENERGIES, "layers.9": 1.0}, clusters=2)


def test_an_unknown_strategy_is_refused(model):
    with pytest.raises(ValueError, match="use 'clusters'"):
        ip.plan_depth(model, X, ENERGIES, clusters=2, strategy="smallest")


def test_planning_changes_nothing(model):
    before = copy.deepcopy(model.state_dict())
    ip.plan_depth(model, X, ENERGIES, clusters=2)
    assert len(removals(model, X)) == 6
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert unit_energies is ip.unit_energies


def test_plan_takes_a_depth_path_and_gives_the_same_plan(model):
    importance = ip.importance.IndependenceImportance()
    found = plan_depth_and_width(model, X, importance, ENERGIES, budgets=ip.budgets.macs(keep=0.5), depths=[4, 6])
    path = ip.DepthPath(ENERGIES, depths=[4, 6])
    assert ip.plan(model, X, importance, budgets=[ip.budgets.macs(keep=0.5)], depth=path) == found.plan


def test_a_number_is_no_budget_of_blocks_and_channels(model):
    needed = r"budgets holds 0\.5; make budgets with infoprune\.budgets\.macs\(keep=0\.5\)"
    with pytest.raises(TypeError, match=needed):
        plan_depth_and_width(model, X, ip.importance.IndependenceImportance(), ENERGIES, budgets=[0.5])
    with pytest.raises(TypeError, match=needed):
        ip.plan_depth(model, X, ENERGIES, budgets=[0.5])


def test_a_depth_path_needs_budgets(model):
    with pytest.raises(ValueError, match="depth needs budgets"):
        ip.plan(model, X, ip.importance.IndependenceImportance(), rates=0.5, depth=ip.DepthPath(ENERGIES))


TOLD = {
    "floor": {"layers.1": 0.9, "layers.2.conv2": 1.0, "layers.4.conv1": 15},
    "ignored_layers": ["layers.1.conv1", "layers.0.*", "layers.2.conv2", "layers.4.conv1"],
}


@pytest.mark.parametrize("what", TOLD)
@pytest.mark.parametrize("as_modules", [False, True])
def test_what_is_told_of_blocks_that_leave_does_not_keep_them_and_holds_elsewhere(model, what, as_modules):
    def named(key):
        return model.get_submodule(key) if as_modules and "*" not in key else key

    told = TOLD[what]
    told = {named(key): share for key, share in told.items()} if what == "floor" else [*map(named, told)]
    path, budget = ip.DepthPath(ENERGIES, depths=[3], strategy="largest"), [ip.budgets.macs(keep=0.3)]
    plan = ip.plan(model, X, ip.importance.CapacityImportance(), budgets=budget, depth=path, **{what: told})
    assert plan.made_by["dropped"] == ["layers.0", "layers.1", "layers.2"]
    kept = {name: plan.widths.get(name, size) for name, size in {"layers.2.down.0": 8, "layers.4.conv1": 16}.items()}
    assert kept["layers.4.conv1"] == (15 if what == "floor" else 16)
    if what == "floor":
        assert kept["layers.2.down.0"] == 8  # the site to which the layer wrote
        assert plan.made_by["floor"] == [f"{key}={share}" for key, share in TOLD["floor"].items()]
    ip.prune_(model, X, plan)


def test_what_is_told_of_no_block_at_all_is_an_error_still(model):
    budget, path = [ip.budgets.macs(keep=0.3)], ip.DepthPath(ENERGIES, depths=[3])
    for told in ({"floor": {"layers.9": 0.5}}, {"ignored_layers": ["layers.9"]}):
        with pytest.raises(ip.errors.UnknownName, match=r"layers\.9"):
            ip.plan(model, X, ip.importance.CapacityImportance(), budgets=budget, depth=path, **told)
