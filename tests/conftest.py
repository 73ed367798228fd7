"""Tests run on one thread (with two on a busy core, OpenMP barriers spin) and draw the same examples every time.

`HYPOTHESIS_PROFILE=explore python -m pytest` draws new ones. The whole suite takes every core; what is named on the
command line runs in one process, which starts sooner (`-n 4` decides otherwise).
"""

import gc
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start, too
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a hundred processes import the library: it is compiled once

import pytest
import torch
from hypothesis import settings

from tests.fresh import python

sys.dont_write_bytecode = False
ALONE = "INFOPRUNE_TEST_ALONE"  # set in the process of such a test

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if whole else 0


# Parts that most changes touch: `-m fast`.
FAST = (
    "allocation/test_posynomial.py", "allocation/test_problem.py",
    "estimators/test_hsic.py", "estimators/test_kmeans.py",
    "importance/test_base.py", "observe/test_observe.py", "surgery/test_added_tensors.py", "surgery/test_contract.py",
    "surgery/test_features.py", "surgery/test_json_text.py", "surgery/test_plan.py", "test_errors.py",
    "test_layers.py", "test_newcomers.py", "wire/test_stream.py", "wire/test_tiling.py",
)  # fmt: skip


def is_fast(path: Path) -> bool:
    here = Path(__file__).parent
    return path.is_relative_to(here) and path.relative_to(here).as_posix() in FAST


def pytest_ignore_collect(collection_path, config):
    """`-m fast` reads no other file."""
    other = (
        collection_path.name.startswith("test_") and collection_path.suffix == ".py" and not is_fast(collection_path)
    )
    return True if other and config.option.markexpr == "fast" else None


def pytest_collection_modifyitems(items):
    for item in items:
        if is_fast(item.path) and item.get_closest_marker("slow") is None:
            item.add_marker("fast")


def pytest_collection_finish():
    torch.set_num_threads(1)
    gc.freeze()  # what is imported stays: no collection looks at it again, and no forked child copies it for that


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """A test that is `alone` runs in a process of its own: threads that other tests left would not survive a fork."""
    if pyfuncitem.get_closest_marker("alone") is None or ALONE in os.environ:
        return None
    words = ["-n", "0", "-m", "", "-p", "no:cacheprovider", "-W", "ignore:Module already imported", pyfuncitem.nodeid]
    with tempfile.TemporaryDirectory() as scratch:
        told = {"cwd": pyfuncitem.config.rootpath, "env": {ALONE: "1"}}
        done = python("-m", "pytest", "--basetemp", f"{scratch}/tests", *words, **told)
    if done.returncode:
        pytest.fail(f"{done.stdout}\n{done.stderr}", pytrace=False)
    return True


@pytest.fixture(autouse=True, scope="session")
def _no_seconds_of_timing():
    """Networks are compared for moments: no test's claim is how fast one is on this machine."""
    timing, latency = (import_module(f"infoprune.{name}") for name in ("timing", "budgets.latency"))
    readings = timing.interleaved_ms

    def briefly(runs, *, seconds, **more):
        return readings(runs, seconds=min(seconds, 0.05), **more)

    with pytest.MonkeyPatch.context() as patched:
        for module in (timing, latency):
            patched.setattr(module, "interleaved_ms", briefly)
        patched.setattr(latency, "SECONDS", 0.005)
        yield


@pytest.fixture
def few_digits(monkeypatch):
    """120 digits to train on and 60 held out, for tests that ask for no accuracy."""
    digits = import_module("infoprune.data.digits")
    table = digits._table
    monkeypatch.setattr(digits, "_table", lambda: table()[:180])
    monkeypatch.setattr(digits, "HELD_OUT", 60)


@pytest.fixture(autouse=True)
def _seeded_on_one_thread():
    torch.set_num_threads(1)
    torch.default_generator.manual_seed(0)  # those of other devices would each walk the stack first
