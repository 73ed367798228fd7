"""Every edit, a newcomer among them: as data, in networks that it fits or does not, and back to dense shapes."""

from dataclasses import is_dataclass

import pytest
import torch
from tests.small_nets import Residual, image, make
from tests.surgery.low_rank import LowRank
from tests.tokens.small_vits import vit
from torch import nn

import infoprune as ip
from infoprune.artifact.saving import dense_shapes
from infoprune.depth.units import removals
from infoprune.errors import BadArtifact, StalePlan
from infoprune.surgery import Edit, KeepTokens, KeepWidths, Plan, SendFeatures, edits
from infoprune.surgery.widths import Axis
from infoprune.wire import Selection

WIDTHS = (Axis("two.weight", 1, 12, 7), Axis("one.weight", 0, 12, 7), Axis("one.bias", 0, 12, 7))


def channels():
    return ip.plan(
        make(Residual), image(), ip.importance.IndependenceImportance(), budgets=[ip.budgets.macs(keep=0.5)]
    ).edits[0]


SAMPLES = {  # kind -> an edit of the network below
    "keep_channels": channels,
    "keep_widths": lambda: KeepWidths("one", WIDTHS),
    "drop_block": lambda: removals(make(Residual), image())[0],
    "keep_tokens": lambda: KeepTokens("blocks.1", 16, 9, 1, "l2", 1),
    "send_features": lambda: SendFeatures("one", Selection.hard(12, [0, 3, 4, 11])),
    "low_rank": lambda: LowRank("head", (5, 8), 3),
}
every_edit = pytest.mark.parametrize("kind", sorted(edits))


def sample(kind) -> tuple[Edit, nn.Module, torch.Tensor]:
    if kind not in SAMPLES:
        pytest.fail(f"tell SAMPLES in this file an edit of kind {kind!r}")
    edit = SAMPLES[kind]()
    return (edit, *network(kind))


def network(kind):
    if kind != "keep_tokens":
        return make(Residual), image()
    torch.manual_seed(0)
    return vit(), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@every_edit
def test_it_is_filed_under_its_kind_as_plain_data(kind):
    edit, _, _ = sample(kind)
    assert edits[kind].kind == kind
    assert type(edit) is edits[kind]
    assert is_dataclass(edit)
    assert type(edit).__doc__
    assert 0 <= edit.keeps < edit.site.size


@every_edit
def test_it_survives_json_and_refuses_keys_that_it_does_not_know(kind):
    edit, _, _ = sample(kind)
    plan = Plan((edit,))
    assert Plan.from_json(plan.to_json()) == plan
    with pytest.raises(BadArtifact, match="unknown keys"):
        Plan.from_json(plan.to_json().replace(f'"kind":"{kind}"', f'"kind":"{kind}","more":1'))


@every_edit
def test_it_refuses_a_network_that_it_was_not_made_for(kind):
    edit, _, _ = sample(kind)
    with pytest.raises((StalePlan, ip.errors.Untraceable)):
        edit.check(nn.Sequential(nn.Linear(3, 4)))


@every_edit
def test_twice_the_same_is_once(kind):
    edit, _, _ = sample(kind)
    assert (Plan((edit,)) + Plan((edit,))).edits == (edit,)


@every_edit
def test_what_it_leaves_computes_what_the_masked_original_computes(kind):
    edit, model, x = sample(kind)
    assert ip.certificate_of(model, x, Plan((edit,))).verdict in ("exact", "not exact by design")


@every_edit
def test_shapes_before_it_are_the_dense_networks(kind):
    edit, model, x = sample(kind)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    ip.prune_(model, x, plan := Plan((edit,)), certify=False)
    assert dense_shapes(model, [plan]) == shapes
