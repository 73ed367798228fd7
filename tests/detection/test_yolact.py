"""YOLACT: its published multiply-adds, its parts against brute force, pruned, saved, trained."""

import copy
import math

import pytest
import torch
import torch_pruning as tp
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.detection.small_detectors import targets
from torch import nn
from torchvision.ops import box_iou

import infoprune as ip
from infoprune.graph import Graph
from infoprune.models import yolact_resnet18_fpn, yolact_resnet50_fpn
from infoprune.models.yolact import RawHeads, assembled
from infoprune.models.yolact_boxes import anchors_of, decode, encode, fast_nms

L2 = tp.importance.MagnitudeImportance(p=2)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return yolact_resnet18_fpn(num_classes=4).eval()


def picture(size: int = 64) -> torch.Tensor:
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1))


def boxes_of(count: int, seed: int) -> torch.Tensor:
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)) * 50
    return torch.cat([corners.amin(1), corners.amax(1) + 1], 1)


def test_macs_at_550_pixels_are_the_published_59_29_g_once_counted_as_there():
    """Table VI of the paper. Its counter adds one for every biased output and two for every element of a batch norm."""
    with torch.device("meta"):
        model = yolact_resnet50_fpn()
        x = torch.rand(1, 3, 550, 550)
    ours = ip.measure(model, x).macs
    extra = []
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(lambda m, i, o: extra.append(2 * o.numel()))
        elif getattr(layer, "bias", None) is not None:
            layer.register_forward_hook(lambda m, i, o: extra.append(o.numel()))
    ip.measure(model, x)
    assert round(ours / 1e9, 2) == 59.14
    assert round((ours + sum(extra)) / 1e9, 2) == 59.29


def test_prototypes_are_138_wide_and_anchors_cover_five_levels(model):
    with torch.device("meta"):
        heads = yolact_resnet18_fpn().train()(torch.rand(2, 3, 550, 550))
    assert heads["prototypes"].shape == (2, 32, 138, 138)
    assert heads["logits"].shape == (2, 3 * (69**2 + 35**2 + 18**2 + 9**2 + 5**2), 81)


@given(st.integers(0, 99))
@settings(max_examples=10)
def test_decoding_undoes_encoding(seed):
    boxes, anchors = boxes_of(20, seed), boxes_of(20, seed + 100)
    torch.testing.assert_close(decode(encode(boxes, anchors), anchors), boxes, atol=1e-3, rtol=1e-4)


def test_an_anchor_has_its_scale_and_shape():
    anchors = anchors_of([(2, 2)], (550, 550), [100], [1.0, 0.5], like=torch.zeros(()))
    assert anchors[0].tolist() == [87.5, 87.5, 187.5, 187.5]
    width, height = anchors[1, 2] - anchors[1, 0], anchors[1, 3] - anchors[1, 1]
    torch.testing.assert_close(torch.stack([width / height, width * height]), torch.tensor([0.5, 10000.0]))


@given(st.integers(0, 99))
@settings(max_examples=10)
def test_fast_suppression_keeps_what_no_better_box_of_its_class_overlaps(seed):
    boxes = boxes_of(25, seed)
    scores = torch.rand(25, 2, generator=torch.Generator().manual_seed(seed))
    overlap = box_iou(boxes, boxes)
    expected = {
        (i, c)
        for i in range(25)
        for c in range(2)
        if scores[i, c] > 0.3 and not any(scores[j, c] > scores[i, c] and overlap[i, j] > 0.5 for j in range(25))
    }
    chosen = fast_nms(boxes, scores, 0.3, 0.5, 100)
    assert set(zip(chosen.rows.tolist(), chosen.columns.tolist(), strict=True)) == expected
    assert chosen.scores.tolist() == sorted(chosen.scores.tolist(), reverse=True)


def test_a_mask_is_the_prototypes_weighted_and_cut_to_its_box():
    prototypes = torch.stack([torch.zeros(4, 4), torch.ones(4, 4)])
    masks = assembled(prototypes, torch.tensor([[0.0, 100.0]]), torch.tensor([[2.0, 0.0, 6.0, 8.0]]), (8, 8))
    assert masks.shape == (1, 1, 8, 8)
    drawn = torch.tensor([0.0, 0, 1, 1, 1, 1, 0, 0]) / (1 + math.exp(-1))  # sigmoid(tanh(100) * 1)
    torch.testing.assert_close(masks[0, 0], drawn.expand(8, 8))


def test_it_prunes_exactly_and_comes_back_from_disk(model, tmp_path):
    x = picture()
    dense = ip.measure(model, x)
    plan = ip.plan(model, x, L2, budgets=[ip.budgets.macs(keep=0.66)])
    assert ip.certificate_of(model, x, plan).verdict == "exact"
    ip.prune_(model, x, plan)
    after = ip.measure(model, x)
    assert 0.65 < after.macs / dense.macs <= 0.66
    assert after.macs == plan.prices["macs"].after
    ip.save(tmp_path / "yolact", model, plan)
    again = ip.load(tmp_path / "yolact")
    with torch.no_grad():
        for mine, theirs in zip(model(x), again(x), strict=True):
            assert all(torch.equal(mine[k], theirs[k]) for k in ("boxes", "labels", "scores", "masks"))


@pytest.mark.slow
def test_a_pruned_ones_raw_heads_export(model, tmp_path):
    """Batch axis free; suppression depends on values and stays outside."""
    pytest.importorskip("onnxruntime")
    x = picture()
    ip.prune_(model, x, ip.plan(model, x, L2, rates=0.5), certify=False)
    told = ip.export(RawHeads(model), x, tmp_path / "heads.onnx")
    assert told.batch == "batch"
    assert told.scale > 0


def test_outputs_of_heads_are_never_sites_and_everything_else_is(model):
    graph = Graph.trace(model, picture())
    makers = {m.name for site in graph.sites for m in graph.members(site.name) if m.role == "out"}
    outputs = {"head.outputs.deltas", "head.outputs.logits", "head.outputs.coefficients", "protonet.last"}
    convolutions = {n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    assert not graph.quarantined
    assert makers == convolutions - outputs


def test_boxes_labels_scores_and_masks_have_the_types_of_mask_rcnn(model):
    with torch.no_grad():
        (found,) = model(picture())
    count = len(found["boxes"])
    assert 0 < count <= 100
    assert {k: (tuple(v.shape), v.dtype) for k, v in found.items()} == {
        "boxes": ((count, 4), torch.float32),
        "labels": ((count,), torch.int64),
        "scores": ((count,), torch.float32),
        "masks": ((count, 1, 64, 64), torch.float32),
    }
    assert found["labels"].min() >= 1
    assert found["labels"].max() <= 3
    assert found["masks"].min() >= 0
    assert found["masks"].max() <= 1


def test_a_pruned_one_trains(model):
    x = picture()
    ip.prune_(model, x, ip.plan(model, x, L2, rates=0.5))
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    totals = []
    for _ in range(6):
        found = model(x.expand(2, -1, -1, -1), targets() * 2)
        assert set(found) == {"loss_classifier", "loss_box_reg", "loss_mask"}
        total = sum(found.values())
        optimizer.zero_grad()
        total.backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.8 * totals[0]


def test_a_picture_without_objects_has_finite_losses(model):
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long), "masks": torch.zeros(0, 64, 64)}
    found = copy.deepcopy(model).train()(picture().expand(2, -1, -1, -1), [nothing, *targets()])
    assert all(bool(loss.isfinite()) for loss in found.values())
