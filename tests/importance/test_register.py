"""Names: ours under the host's, and a third party's among ours."""

from dataclasses import dataclass

import pytest
import torch_pruning as tp

from infoprune.errors import InfopruneError
from infoprune.importance import CapacityIndependenceImportance, Importance, importances
from infoprune.importance.register_with_host import register


@pytest.fixture
def host_names(monkeypatch):
    for factory in importances.values():
        monkeypatch.delattr(tp.importance, factory.__name__, raising=False)
    yield
    for factory in importances.values():
        monkeypatch.delattr(tp.importance, factory.__name__, raising=False)


@pytest.mark.usefixtures("host_names")
def test_importing_registers_nothing_and_registering_everything():
    assert not hasattr(tp.importance, "CapacityImportance")
    register()
    register()
    assert tp.importance.CapacityIndependenceImportance is CapacityIndependenceImportance
    assert all(getattr(tp.importance, factory.__name__) is factory for factory in importances.values())


@pytest.mark.usefixtures("host_names")
def test_refuses_to_shadow_a_name_that_is_not_ours(monkeypatch):
    monkeypatch.setattr(tp.importance, "IndependenceImportance", object(), raising=False)
    with pytest.raises(InfopruneError, match="IndependenceImportance"):
        register()
    assert not hasattr(tp.importance, "CapacityImportance")


def test_a_third_party_registers_by_decorator(monkeypatch):
    monkeypatch.setattr(importances, "_factories", dict(importances._factories))

    @importances.register("mine")
    @dataclass(frozen=True)
    class Mine(Importance):
        def score(self, member):
            return None

    assert importances["mine"] is Mine
    with pytest.raises(ValueError, match="already registered"):
        importances.register("mine")(CapacityIndependenceImportance)
