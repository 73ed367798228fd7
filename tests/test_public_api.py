"""The names that users write, and what importing them costs."""

import ast
import importlib.metadata
import inspect
from pathlib import Path

import pytest

import infoprune as ip
from tests.fresh import python

PUBLIC = {
    "plan": ("model", "example_inputs", "importance", "layer_importance", "budgets", "rates", "utility", "round_to",
             "floor", "depth", "ignored_layers", "num_heads", "solver", "tokens",
             "head_dims"),
    "prune_": ("model", "example_inputs", "plan", "certify"),
    "save": ("directory", "model", "plan", "from_pruner"),
    "save_plain": ("directory", "model", "plan"),
    "load": ("directory", "factory"),
    "plan_between": ("dense", "pruned", "example_inputs"),
    "measure": ("model", "example_inputs", "latency"),
    "rebuild_optimizer": ("optimizer", "plan", "model"),
    "register": (),
    "observe": ("model", "loader", "samples", "device", "progress", "moments"),
    "compensate_": ("pruned", "dense", "loader", "samples", "progress", "plan"),
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
        "importance.EnergyImportance", "importance.HSICImportance", "importance.ConditionalImportance", "Compensation",
        "budgets.bits", "tokens.sparsify_",
        "split.SplitModel", "split.rank",
        "layerwise.uniform", "layerwise.nhsic", "layerwise.nhsic_relevance", "layerwise.curves", "budgets.macs",
        "budgets.params", "budgets.latency", "budgets.activations", "budgets.bytes", "budgets.kv_cache",
        "DepthPath", "TokenPath",
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


def in_fresh_python(script):
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_registers_nothing_with_the_host_and_loads_no_module():
    script = (
        "import sys, torch, timm, torch_pruning as tp; before = set(sys.modules)\n"
        "import infoprune\n"
        "print(hasattr(tp.importance, 'CapacityImportance'), *sorted(set(sys.modules) - before))"
    )
    assert in_fresh_python(script) == ["False", "infoprune"]


def test_using_the_public_names_loads_no_solver_no_plot_and_no_toolkit():
    heavy = (
        "cvxpy",
        "scipy.optimize",
        "sklearn",
        "matplotlib",
        "av",
        "onnx",
        "onnxruntime",
        "transformers",
        "lightning",
    )
    script = (
        "import sys, torch, timm, torch_pruning; before = set(sys.modules)\n"
        "import infoprune; [getattr(infoprune, name) for name in dir(infoprune)]\n"
        f"print(*({heavy!r} & (set(sys.modules) - before)))"
    ).replace(repr(heavy), repr(set(heavy)))
    assert in_fresh_python(script) == []


def test_python_and_type_checkers_are_told_the_same_names():
    block = next(node for node in ast.parse(Path(ip.__file__).read_text()).body if isinstance(node, ast.If))
    told = {(node.module, alias.name) for node in block.body for alias in node.names}
    packages = {("infoprune", name) for name in ip.PACKAGES}
    assert told == packages | {(f"infoprune.{module}", name) for module, names in ip.NAMES.items() for name in names}
    assert {name for _, name in told} <= set(dir(ip))


@pytest.mark.parametrize("name", ["export", "measure", "observe"])
def test_functions_win_over_the_modules_of_their_name(name):
    script = f"import infoprune as ip, infoprune.{name}, infoprune.split; print(callable(ip.{name}))"
    assert in_fresh_python(script) == ["True"]


def test_a_name_that_is_not_there_is_told_as_by_any_module():
    with pytest.raises(AttributeError, match="has no attribute 'plann'"):
        ip.plann  # noqa: B018
    with pytest.raises(ImportError):
        from infoprune import plann  # noqa: F401


def test_every_error_is_ours():
    errors = [
        e
        for e in vars(ip.errors).values()
        if inspect.isclass(e) and issubclass(e, Exception) and not issubclass(e, Warning)
    ]
    assert all(issubclass(e, ip.InfopruneError) for e in errors)


def test_the_version_is_the_installed_one():
    assert ip.__version__ == importlib.metadata.version("infoprune")
