"""What prunes of torchvision's detectors and segmentation networks: half of every site, certified, at full width.

    python benchmarks/detection_coverage.py [name ...]

Random weights, pictures of 128 pixels (SSD chooses its own), 16 proposals and 8 detections. What is on file is not
measured again unless it is named; at the end comes the table of docs/detection.md.
"""

from __future__ import annotations

from typing import Any

import torch
import torch_pruning as tp
import torchvision
from results_file import ResultsFile, arguments
from torch import nn

import infoprune as ip

DETECTORS = (
    "maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2", "fasterrcnn_resnet50_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn", "keypointrcnn_resnet50_fpn", "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn", "ssd300_vgg16", "ssdlite320_mobilenet_v3_large",
)  # fmt: skip
SEGMENTERS = ("fcn_resnet50", "deeplabv3_resnet50", "lraspp_mobilenet_v3_large")


def built(name: str) -> tuple[nn.Module, Any]:
    options: dict[str, Any] = {"weights": None, "weights_backbone": None}
    if "fpn" in name:
        options |= {"min_size": 128, "max_size": 128}
    if "rcnn" in name:
        options |= {"rpn_post_nms_top_n_test": 16, "box_detections_per_img": 8}
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, **options).eval()
    for layer in (m for m in model.modules() if "mobilenet" in name and isinstance(m, nn.Conv2d)):
        nn.init.kaiming_normal_(layer.weight)  # as they are drawn, little but biases would reach the outputs
    picture = torch.rand(3, 128, 128)
    return model, (picture[None] if name in SEGMENTERS else ([picture],))


def measured(name: str) -> dict[str, Any]:
    model, x = built(name)
    plan = ip.plan(model, x, tp.importance.MagnitudeImportance(p=2), rates=0.5)
    certificate = ip.certificate_of(model, x, plan)
    ip.prune_(model, x, plan, certify=False)
    after = ip.measure(model, x)
    price = plan.prices["macs"]
    assert after.macs == price.after, (after, price)
    return {
        "model": name, "sites": len(plan.edits), "quarantined": len(plan.made_by.get("quarantined", ())),
        "macs": [price.before, price.after], "certificate": certificate.verdict,
        "difference": certificate.difference / certificate.scale,
    }  # fmt: skip


def line(row: dict[str, Any]) -> str:
    before, after = row["macs"]
    verdict = f"{row['certificate']} ({row['difference']:.0e})"
    sites = f"{row['sites']} / {row['quarantined']}"
    return f"| {row['model']} | {sites} | {before / 1e9:.2f} G | {after / before:.1%} | {verdict} |"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("names", nargs="*", help="networks to do again; without any, all that are not done")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = ResultsFile.of(options, "detection_coverage", ("model",))
    everything = ("lraspp_mobilenet_v3_large",) if options.smoke else (*DETECTORS, *SEGMENTERS)
    for name in options.names or (n for n in everything if not results.has(model=n)):
        results.append(measured(name))
    print("| network | sites / quarantined | multiply-adds | remain | certificate (relative difference) |")
    print("|---|---|--:|--:|---|", *(line(row) for row in results.rows()), sep="\n")


if __name__ == "__main__":
    main()
