"""Export every pruned model of the list to ONNX, compare ONNX Runtime with torch, and tell it in docs/coverage.md.

    python benchmarks/export_coverage.py             # all that zoo_coverage.py pruned, one process a model, resumable
    python benchmarks/export_coverage.py resnet18    # these again
    python benchmarks/export_coverage.py --others    # members of torchvision's and transformers' families instead

A row holds the largest difference as a fraction of the largest output, over two batch sizes, or why there is no file.
Heads that start at zero are drawn first, for otherwise all outputs would be zero and equal.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import zoo_coverage
from results_file import FOLDER, ResultsFile, arguments

LIMIT_S = 1200
TORCHVISION = (
    "resnet18", "resnext50_32x4d", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "densenet121",
    "regnet_y_400mf", "shufflenet_v2_x1_0", "mnasnet1_0", "squeezenet1_1", "googlenet", "vgg11_bn", "convnext_tiny",
    "swin_t", "vit_b_16", "deeplabv3_mobilenet_v3_large", "fcn_resnet50",
)  # fmt: skip
TRANSFORMERS = ("ViTForImageClassification", "DeiTForImageClassification", "BertForSequenceClassification")
OTHERS = [f"torchvision:{name}" for name in TORCHVISION] + [f"transformers:{name}" for name in TRANSFORMERS]


def built(name: str):
    """The network and an input of its own size; transformers' have two layers of their default widths."""
    import timm
    import torch
    import torchvision

    source, _, name = name.rpartition(":")
    if source == "torchvision":
        without = {"weights_backbone": None} if name.startswith(("fcn", "deeplab")) else {}
        return torchvision.models.get_model(name, weights=None, **without), torch.randn(1, 3, 224, 224)
    if source == "transformers":
        import transformers

        kind = getattr(transformers, name)
        model = kind(kind.config_class(num_hidden_layers=2))
        words = torch.randint(0, 1000, (1, 32), generator=torch.Generator().manual_seed(0))
        return model, words if name.startswith("Bert") else torch.randn(1, 3, 224, 224)
    model = timm.create_model(name)
    return model, torch.randn(1, *model.pretrained_cfg["input_size"])


def one(name: str) -> dict:
    import torch

    import infoprune as ip

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, x = built(name)
    for p in (p for p in model.eval().parameters() if p.dim() > 1 and not p.any()):
        torch.nn.init.normal_(p, std=0.02)
    importance = ip.importance.CapacityIndependenceImportance()
    ip.prune_(model, x, ip.plan(model, x, importance, budgets=[ip.budgets.macs(keep=0.5)]), certify=False)
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        try:
            told = ip.export(model, x, Path(folder) / "model.onnx")
        except ip.InfopruneError as error:
            return {"model": name, "reason": f"{type(error).__name__}: {error}"}
    if not told.scale:
        return {"model": name, "reason": "all outputs are zero, so nothing was compared"}
    cpu_s = round(time.process_time() - started, 1)
    difference = max(told.differences.values())
    return {"model": name, "difference": difference, "batch": told.batch, "opset": told.opset, "cpu_s": cpu_s}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("names", nargs="*", help="models to do again; without any, all that are not done")
    parser.add_argument(
        "--others", action="store_true", help="members of other libraries' families instead of the list"
    )
    parser.add_argument("--one", action="store_true", help="do one model here and print its row (for the children)")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.names[0])))
        return
    results = ResultsFile.of(options, "export_coverage", ("model",))
    zoo = ResultsFile(FOLDER / "zoo_coverage.jsonl", ("model",)).rows()
    pruned = [row["model"] for row in zoo if row["outcome"] == "pruned"]
    wanted = [zoo_coverage.SMOKE] if options.smoke else OTHERS if options.others else pruned
    for name in options.names or [n for n in wanted if not results.has(model=n)]:
        results.append(zoo_coverage.child(__file__, name, LIMIT_S))
    if not (options.smoke or options.others):
        zoo_coverage.write_table(zoo)


if __name__ == "__main__":
    main()
