"""The least and the most that choices of blocks leave, against trying all of them."""

from itertools import combinations

import pytest
import torch
from tests.depth.skip_nets import CifarResNet

from infoprune.depth import removals
from infoprune.depth.prices import ends, without
from infoprune.graph.arguments import Arguments
from infoprune.measure import measure

X = torch.zeros(1, 3, 8, 8)


@pytest.mark.parametrize("keep", [1, 4])
def test_ends_are_those_of_all_choices_where_savings_add_up(keep):
    model = CifarResNet()
    edits = removals(model, X)
    found = [measure(without(model, gone), X) for gone in combinations(edits, len(edits) - keep)]
    expected = {
        "macs": (min(m.macs for m in found), max(m.macs for m in found)),
        "params": (min(m.params for m in found), max(m.params for m in found)),
    }
    assert expected["macs"][0] < expected["macs"][1]
    left = [measure(one, X) for one in ends(model, Arguments.of(X), edits, keep)]
    assert expected == {
        "macs": (min(m.macs for m in left), max(m.macs for m in left)),
        "params": (min(m.params for m in left), max(m.params for m in left)),
    }
