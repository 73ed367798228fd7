"""The names that users write, and what importing them costs."""

import inspect
import subprocess
import sys

import pytest

import infoprune as ip

PUBLIC = {
    "plan": ("model", "example_inputs", "importance", "layer_importance", "budgets", "rates", "utility", "round_to",
             "floor", "depth", "ignored_layers", "num_heads", "solver", "tokens"),
    "prune_": ("model", "example_inputs", "plan", "certify"),
    "save": ("directory", "model", "plan"),
    "load": ("directory", "factory"),
    "measure": ("model", "example_inputs", "latency"),
    "rebuild_optimizer": ("optimizer", "plan", "model"),
    "register": (),
    "observe": ("model", "loader", "samples", "device", "progress"),
    "skip_units": ("model", "example_inputs"),
    "plan_depth": ("model", "example_inputs", "seen", "clusters", "keep_units", "budgets", "strategy"),
    "certificate_of": ("model", "example_inputs", "plan"),
    "export": ("model", "example_inputs", "path", "opset"),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_public_functions_take_these_arguments(name):
    assert tuple(inspect.signature(getattr(ip, name)).parameters)[: len(PUBLIC[name])] == PUBLIC[name]


@pytest.mark.parametrize(
    "name",
    [
        "importance.CapacityImportance", "importance.IndependenceImportance",
        "importance.CapacityIndependenceImportance", "importance.MutualInformationImportance",
        "importance.EnergyImportance", "importance.HSICImportance", "budgets.bits", "tokens.sparsify_",
        "split.SplitModel", "split.rank",
        "layerwise.uniform", "layerwise.nhsic", "layerwise.nhsic_relevance", "layerwise.curves", "budgets.macs",
        "budgets.params", "budgets.latency", "budgets.activations", "DepthPath", "TokenPath",
        "stages",
        "InfopruneError", "errors.Infeasible", "Graph", "Plan",
        "errors.UnknownName", "errors.StalePlan", "errors.BadArtifact", "errors.BadWeights", "errors.CertificateFailed",
    ],
)  # fmt: skip
def test_public_names_are_there(name):
    found = ip
    for part in name.split("."):
        found = getattr(found, part)


def test_pure_packages_offer_their_names():
    from infoprune.allocation import Allocation, Posynomial, Problem, allocate
    from infoprune.estimators import energy, entropy, hsic, kmeans, mutual_information

    assert all(map(callable, (Allocation, Posynomial, Problem, allocate)))
    assert all(map(callable, (energy.energy_distance, entropy.kernel_distance_entropy, entropy.renyi, hsic.nhsic)))
    assert all(map(callable, (kmeans.kmeans_1d, mutual_information.binned)))


def test_importing_registers_nothing_with_the_host_and_loads_no_solver():
    script = (
        "import sys, torch_pruning as tp, infoprune\n"
        "print(hasattr(tp.importance, 'CapacityImportance'), any(m in sys.modules for m in ('cvxpy', 'av')))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert out == ["False", "False"]


def test_every_error_is_ours():
    errors = [e for e in vars(ip.errors).values() if inspect.isclass(e) and issubclass(e, Exception)]
    assert all(issubclass(e, ip.InfopruneError) for e in errors)
