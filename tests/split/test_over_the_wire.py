"""Edge, wire and cloud together are the network in which the same features pass."""

import pytest
import torch
from tests.small_nets import Residual, image, make

import infoprune as ip
from infoprune.split import SplitModel, plan_without
from infoprune.surgery import Plan, SendFeatures
from infoprune.wire import HEVC, Lossless, Selection

SELECTIONS = {
    "all, without loss": (Selection.hard(8, range(8), Lossless()), 0.0),
    "hard, without loss": (Selection.hard(8, [0, 4, 6], Lossless()), 0.0),
    "hard, 8 bits": (Selection.hard(8, [0, 4, 6]), 0.01),
    "soft": (Selection.soft(8, [0, 4, 6], HEVC(10)), 0.05),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_what_arrives_gives_what_the_sending_model_gives(name):
    selection, tolerance = SELECTIONS[name]
    edit, x = SendFeatures("norm", selection), image()
    split = SplitModel(make(Residual), at="norm", example_inputs=x)
    whole = ip.prune_(make(Residual), x, Plan((edit,)))
    with torch.no_grad():
        arrived = split.cloud(edit.decode(edit.encode(split.edge(x))))
        assert (arrived - whole(x)).abs().max() <= tolerance * whole(x).abs().max()


def test_the_edge_of_a_sending_model_gives_out_what_it_sends():
    edit, x = SendFeatures("norm", Selection.hard(8, [0, 4, 6], Lossless())), image()
    features = SplitModel(ip.prune_(make(Residual), x, Plan((edit,))), at="norm").edge(x)
    assert [i for i in range(8) if features[:, i].any()] == [0, 4, 6]
    assert torch.equal(edit.decode(edit.encode(features)), features)


def test_a_network_without_its_unneeded_features_is_split_as_before():
    x = image()
    model = make(Residual)
    ip.prune_(model, x, plan_without(model, x, at="norm", unneeded=[1, 2, 3]))
    split = SplitModel(model, at="norm")
    with torch.no_grad():
        features = split.edge(x)
        assert features.shape[1] == 5
        torch.testing.assert_close(split.cloud(features), model(x))
