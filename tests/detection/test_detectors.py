"""torchvision's detectors: traced without their post-processing, pruned, certified, saved, run and trained."""

import copy

import pytest
import torch
import torch_pruning as tp
from tests.detection import small_detectors as nets
from tests.detection.small_detectors import BOXES, image, mask_rcnn, ssd_lite, targets
from tests.small_nets import Residual, make
from tests.small_nets import image as pixels
from torch import nn
from torchvision.models import resnet18
from torchvision.ops import FrozenBatchNorm2d

import infoprune as ip
from infoprune.graph import Graph
from infoprune.graph.agreement import compare
from infoprune.graph.arguments import Arguments
from infoprune.graph.detectors import settled
from infoprune.graph.nested import outputs_of
from infoprune.graph.passes import Pass
from infoprune.graph.slicing import Removal
from infoprune.surgery import Plan, certificate

L2 = tp.importance.MagnitudeImportance(p=2)
X = ([image()],)
OUTPUTS = {
    "rpn.head.cls_logits", "rpn.head.bbox_pred", "roi_heads.box_predictor.cls_score",
    "roi_heads.box_predictor.bbox_pred", "roi_heads.mask_predictor.mask_fcn_logits",
}  # fmt: skip


@pytest.fixture(scope="module")
def pruned():
    """A Mask R-CNN before, its plan, and after."""
    before = mask_rcnn()
    plan = ip.plan(before, X, L2, rates=0.5)
    return before, plan, ip.prune_(copy.deepcopy(before), X, plan)


def makers(graph: Graph) -> set[str]:
    return {m.name for site in graph.sites for m in graph.members(site.name) if m.role == "out"}


def test_backbone_pyramid_and_heads_of_mask_rcnn_are_sites_and_their_outputs_are_not():
    model = mask_rcnn()
    graph = Graph.trace(model, X, verify=False)
    layers = {n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)}
    assert makers(graph) == layers - OUTPUTS
    fc6 = next(m for m in graph.members("backbone.fpn.layer_blocks.3.0") if m.name == "roi_heads.box_head.fc6")
    assert (fc6.role, len(fc6.index)) == ("in", 256 * 7 * 7)


def test_a_pruned_mask_rcnn_is_the_masked_original_and_costs_what_was_planned(pruned):
    before, plan, after = pruned
    assert "quarantined" not in plan.made_by
    assert ip.certificate_of(before, X, plan).verdict == "exact"
    measured = ip.measure(after, X)
    assert (measured.macs, measured.params) == (plan.prices["macs"].after, plan.prices["params"].after)


def test_frozen_batch_norms_leave_with_their_channels():
    torch.manual_seed(0)
    model, x = nets.settled_norms(resnet18(num_classes=4, norm_layer=FrozenBatchNorm2d).eval()), image()[None]
    plan = ip.plan(model, x, L2, rates={"layer1.0.conv1": 0.5, "layer4.0.conv2": 0.25})
    assert ip.certificate_of(model, x, plan).verdict == "exact"
    ip.prune_(model, x, plan)
    assert len(model.layer1[0].bn1.running_var) == 32


@pytest.mark.slow
def test_frozen_batch_norms_of_a_detector_leave_with_their_channels():
    model = mask_rcnn(FrozenBatchNorm2d)
    plan = ip.plan(model, X, L2, rates={"backbone.body.layer1.0.conv1": 0.5, "backbone.fpn.layer_blocks.3.0": 0.25})
    assert ip.certificate_of(model, X, plan).verdict == "exact"
    ip.prune_(model, X, plan)
    assert len(model.backbone.body.layer1[0].bn1.running_var) == 32


def test_it_finds_boxes_and_masks_of_the_right_types(pruned):
    with torch.no_grad():
        found = pruned[2]([image(), image()[:, :48]])
    assert [set(f) for f in found] == [{"boxes", "labels", "scores", "masks"}] * 2
    count = len(found[1]["boxes"])
    assert count > 0
    assert {k: (tuple(v.shape), v.dtype) for k, v in found[1].items()} == {
        "boxes": ((count, 4), torch.float32),
        "labels": ((count,), torch.int64),
        "scores": ((count,), torch.float32),
        "masks": ((count, 1, 48, 64), torch.float32),
    }


def test_it_trains(pruned):
    model = copy.deepcopy(pruned[2]).train()
    losses = model([image()], targets())
    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg"}
    assert all(bool(loss.isfinite()) for loss in losses.values())
    sum(losses.values()).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
    assert not missing


def test_it_comes_back_from_disk_with_its_factory(pruned, tmp_path):
    _, plan, after = pruned
    ((((shape, dtype, _),), kind),) = Plan.from_json(plan.to_json()).inputs
    assert (shape, dtype, kind) == ((3, 64, 64), "float32", "list")
    ip.save(tmp_path / "mask", after, plan)
    with pytest.raises(ip.errors.BadArtifact, match="factory"):
        ip.load(tmp_path / "mask")
    again = ip.load(tmp_path / "mask", factory=mask_rcnn)
    with torch.no_grad():
        mine, theirs = after([image()])[0], again([image()])[0]
    assert all(torch.equal(mine[k], theirs[k]) for k in ("boxes", "labels", "scores", "masks"))


@pytest.mark.slow
def test_a_detector_at_its_builders_settings_comes_back_by_name(tmp_path):
    model = ssd_lite()
    prunes_exactly_at_the_planned_price(model, plan := ip.plan(model, X, L2, rates=0.5))
    ip.save(tmp_path / "boxes", model, plan)
    again = ip.load(tmp_path / "boxes")
    with torch.no_grad():
        mine, theirs = model([image()])[0], again([image()])[0]
    assert all(torch.equal(mine[k], theirs[k]) for k in ("boxes", "labels", "scores"))


def prunes_exactly_at_the_planned_price(model: nn.Module, plan: Plan) -> None:
    assert "quarantined" not in plan.made_by
    found = ip.certificate_of(model, X, plan)
    assert found.verdict == ("not exact by design" if found.statistics else "exact"), str(found)
    ip.prune_(model, X, plan, certify=False)
    assert ip.measure(model, X).macs == plan.prices["macs"].after
    with torch.no_grad():
        assert set(model([image()])[0]) >= {"boxes", "labels", "scores"}


OTHERS = (nets.retina_net, nets.faster_rcnn, nets.fcos, nets.keypoint_rcnn)


@pytest.mark.slow
@pytest.mark.parametrize("build", OTHERS)
def test_other_detectors_prune_exactly_at_the_planned_price(build):
    model = build()
    prunes_exactly_at_the_planned_price(model, ip.plan(model, X, L2, rates=0.5))


def test_a_segmentation_network_prunes_exactly_at_the_planned_price():
    model, x = nets.lraspp(), image()[None]
    plan = ip.plan(model, x, L2, rates=0.5)
    assert ip.certificate_of(model, x, plan).verdict == "exact"
    ip.prune_(model, x, plan)
    assert ip.measure(model, x).macs == plan.prices["macs"].after
    assert model(x)["out"].shape == (1, 4, 64, 64)


class Stubborn(nn.Module):
    """A box head whose code names the pyramid's width as a number."""

    def __init__(self) -> None:
        super().__init__()
        self.fc6, self.fc7 = nn.Linear(256, 64), nn.Linear(64, 1024)

    def forward(self, x):
        return self.fc7(torch.relu(self.fc6(x.reshape(-1, 256, 49).mean(2))))


def test_code_on_boxes_that_cannot_shrink_is_quarantined_and_the_rest_is_kept():
    model = mask_rcnn()
    model.roi_heads.box_head = Stubborn()
    graph = Graph.trace(model, X)
    assert "invalid for input" in graph.quarantined["backbone.fpn.layer_blocks.3.0"]
    assert {"roi_heads.box_head.fc6", "roi_heads.mask_head.0.0", "rpn.head.conv.0.0"} <= set(graph.couplings)


# ------------------------------------------------------------------------------------------------ while it is settled


def test_multiply_adds_are_those_of_a_full_house_whatever_the_weights():
    model = nets.faster_rcnn()
    macs = ip.measure(model, X).macs
    with torch.no_grad():
        model.rpn.head.cls_logits.bias.fill_(-100.0)
        model.rpn.head.bbox_pred.weight.normal_()
    model.rpn.score_thresh = 0.5
    assert ip.measure(model, X).macs == macs
    model.rpn._post_nms_top_n["testing"] += 1
    head = model.roi_heads
    a_box = sum(m.weight.numel() for m in head.modules() if isinstance(m, nn.Linear))
    assert ip.measure(model, X).macs == macs + a_box


def state_of(model: nn.Module) -> list:
    return [(set(vars(m)), len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for m in model.modules()]


def test_everything_is_put_back_whatever_happens():
    model = mask_rcnn().train()
    before = state_of(model)
    Graph.trace(model, X, verify=False)
    with pytest.raises(RuntimeError, match="on purpose"), settled(model):
        raise RuntimeError("on purpose")
    assert state_of(model) == before
    assert model.roi_heads.box_roi_pool.scales is None
    assert isinstance(model.eval()([image()])[0], dict)


def test_a_settled_model_gives_every_heads_raw_tensors():
    model = mask_rcnn()
    with settled(model), torch.no_grad():
        shapes = [tuple(t.shape) for t in outputs_of(model(*X))]
    boxes, masks = BOXES["rpn_post_nms_top_n_test"], BOXES["box_detections_per_img"]
    levels = (16, 8, 4, 2, 1)
    assert shapes == [
        *((1, 3, n, n) for n in levels), *((1, 12, n, n) for n in levels), (boxes, 4), (boxes, 16), (masks, 4, 28, 28),
    ]  # fmt: skip


@pytest.mark.parametrize("layer", sorted(OUTPUTS))
def test_a_wrong_weight_in_any_head_is_seen_though_other_outputs_are_larger(layer):
    model = mask_rcnn()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.get_submodule(layer).weight.mul_(1.01)
    assert compare(other, model, Removal({}), Pass(Arguments.of(X)), ()).relative > 1e-3


def test_a_doubt_in_single_precision_is_settled_in_double(monkeypatch):
    model = make(Residual)
    plan = ip.plan(model, pixels(), L2, rates=0.5)
    monkeypatch.setattr(certificate, "AFFORDABLE_MACS", 0)
    assert ip.certificate_of(model, pixels(), plan).dtype == "float32"
    monkeypatch.setitem(certificate.TOLERANCE, torch.float32, 0.0)
    found = ip.certificate_of(model, pixels(), plan)
    assert (found.verdict, found.dtype) == ("exact", "float64")


def test_blocks_of_a_detectors_backbone_can_leave():
    assert "backbone.body.layer1.1" in {site.name for site in ip.skip_units(mask_rcnn(), X)}
