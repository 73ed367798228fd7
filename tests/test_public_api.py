"""The names that users write, and what importing them costs."""

import ast
import importlib.metadata
import inspect
import json
import re
from pathlib import Path

import pytest

import infoprune as ip
from tests.fresh import python
from tests.public_names import public_names
from tests.public_signatures import SNAPSHOT, described, in_short
from tests.taken_arguments import listed, made_by_users, public_functions, taken

MANY = 4  # arguments, from which on each of them is described


def test_public_signatures_are_those_of_the_snapshot():
    kept, now = json.loads(SNAPSHOT.read_text(encoding="utf-8")), described(public_names())
    changed = {name: f"{kept.get(name, 'new')} -> {now.get(name, 'gone')}" for name in kept.keys() | now.keys()
               if kept.get(name) != now.get(name)}  # fmt: skip
    assert changed == {}, "if this is meant, run python tests/public_signatures.py and tell it in CHANGELOG.md"


def test_a_signature_in_short_tells_names_order_and_defaults():
    def call(model, x, /, plan=None, *rest, certify=True, **more): ...
    def named(model, *, plan): ...

    assert in_short(call) == "(model, x, plan=, *rest, certify=, **more)"
    assert in_short(named) == "(model, *, plan)"
    assert in_short(ip.Plan.from_json) == "(cls, text)"
    assert in_short(ip.errors.Infeasible) == "class"
    assert in_short(3) == "value"


CALLED = [(path, value) for path, value in public_functions(public_names()).items() if len(taken(value)) >= MANY]


@pytest.mark.parametrize("value", [value for _, value in CALLED], ids=[path for path, _ in CALLED])
def test_a_function_of_many_arguments_says_of_each_what_it_is(value):
    assert listed(value) == taken(value)


@pytest.mark.parametrize("kind", made_by_users(public_names()), ids=lambda kind: kind.__name__)
def test_a_class_that_users_make_from_many_arguments_says_of_each_what_it_is(kind):
    assert len(taken(kind)) < MANY or listed(kind) == taken(kind)


def test_a_list_of_arguments_is_read_by_its_names():
    def call(model, *rest, keep=1.0, **more):
        """What it does.

        Args:
            model: The network,
                which goes on here: and here.
            keep: A share.

        keep: this is no entry.
        """

    assert listed(call) == ["model", "keep"]
    assert taken(call) == ["model", "*rest", "keep", "**more"]


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


def test_the_version_is_written_in_one_place_and_cited():
    root = Path(__file__).parent.parent
    told = re.search(r'^version = "([^"]+)"', (root / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert f"\nversion: {told}\n" in (root / "CITATION.cff").read_text()
    assert [str(path) for path in (root / "src").rglob("*.py") if f'"{told}"' in path.read_text()] == []
