"""COCO's instances layout: pictures with boxes and masks, results as pycocotools reads them, and their precision.

    pictures = CocoInstances("coco/val2017", "coco/annotations/instances_val2017.json")
    found = results(model, pictures)                    # one dict a detection, as in COCO's results format
    write_results("detections.json", found)
    print(evaluate(pictures, found)["masks"].ap)        # as the benchmark defines it, computed by pycocotools

Masks and the evaluation need pycocotools, the extra `coco`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from infoprune.data.base import existing
from infoprune.deprecated import renamed_keyword
from infoprune.errors import MissingExtra, UnusableData

Kind = Literal["boxes", "masks"]
Judged = TypeVar("Judged")
Detector = Callable[[list[Tensor]], list[dict[str, Tensor]]]
LAYOUT = "a folder of pictures and an instances JSON with images, annotations and categories"
SOURCE = "https://cocodataset.org"
MASK_FROM = 0.5  # a pixel belongs to a detection from this probability on


@dataclass(frozen=True)
class Score:
    """Average precision over overlaps of 0.5 to 0.95, at 0.5, at 0.75, and by size; -1 where nothing has that size."""

    ap: float
    ap50: float
    ap75: float
    small: float
    medium: float
    large: float


@dataclass(frozen=True)
class CocoInstances:
    """`pictures[i]` is (picture 3 x h x w in [0, 1], target), for the i-th image by id.

    A target has what torchvision's detectors train on: boxes (corners, n x 4), labels (n, from 1 without gaps), masks
    (n x h x w, 0 or 1) and image_id. Crowds are left out of targets and known to `evaluate`.
    """

    images: str | os.PathLike[str]
    annotations: str | os.PathLike[str]
    _content: Mapping[str, list[dict[str, Any]]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        existing(Path(self.images), "pictures", LAYOUT, SOURCE)
        object.__setattr__(self, "_content", _read(Path(self.annotations)))

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        image_id = self.image_ids[index]
        return self.picture(image_id), self.target(image_id)

    @cached_property
    def image_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self._images))

    @cached_property
    def categories(self) -> tuple[int, ...]:
        """The category id of label 1, of label 2, and so on."""
        return tuple(sorted(category["id"] for category in self._content["categories"]))

    @cached_property
    def _images(self) -> Mapping[int, Mapping[str, Any]]:
        return {image["id"]: image for image in self._content["images"]}

    @cached_property
    def _of_image(self) -> Mapping[int, list[dict[str, Any]]]:
        by_image: dict[int, list[dict[str, Any]]] = {image_id: [] for image_id in self._images}
        for annotation in self._content["annotations"]:
            if annotation["image_id"] in by_image and not annotation.get("iscrowd", 0):
                by_image[annotation["image_id"]].append(annotation)
        return by_image

    def picture(self, image_id: int) -> Tensor:
        path = existing(Path(self.images) / self._images[image_id]["file_name"], "picture", LAYOUT, SOURCE)
        with Image.open(path) as picture:
            values = np.array(picture.convert("RGB"))
        return torch.from_numpy(values).permute(2, 0, 1).float() / 255

    def target(self, image_id: int) -> dict[str, Tensor]:
        image, annotations = self._images[image_id], self._of_image[image_id]
        height, width = image["height"], image["width"]
        corners = torch.tensor([a["bbox"] for a in annotations], dtype=torch.float32).view(-1, 4)
        corners[:, 2:] += corners[:, :2]
        masks = [_mask(a["segmentation"], height, width) for a in annotations]
        return {
            "boxes": corners,
            "labels": torch.tensor(
                [1 + self.categories.index(a["category_id"]) for a in annotations], dtype=torch.long
            ),
            "masks": torch.stack(masks) if masks else torch.zeros(0, height, width, dtype=torch.uint8),
            "image_id": torch.tensor(image_id),
        }


def _read(path: Path) -> Mapping[str, list[dict[str, Any]]]:
    existing(path, "annotations", LAYOUT, SOURCE)
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UnusableData(f"{path} is not JSON ({error}); get the instances file again") from error
    for key, fields in _FIELDS.items():
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise UnusableData(f"{path} has no list {key!r}; pass COCO's instances JSON, not captions or keypoints")
        odd = next((e for e in entries if not isinstance(e, dict) or fields - e.keys()), None)
        if odd is not None:
            raise UnusableData(f"{path} holds {odd!s:.60} in {key!r}; each needs {', '.join(sorted(fields))}")
    return content


_FIELDS = {
    "images": {"id", "file_name", "height", "width"},
    "annotations": {"image_id", "category_id", "bbox", "segmentation"},
    "categories": {"id"},
}


def _mask(segmentation: Any, height: int, width: int) -> Tensor:
    """Polygons, or runs as numbers or as a string, as pycocotools draws them: h x w of 0 and 1."""
    mask = _pycocotools().mask
    if isinstance(segmentation, list):
        runs = mask.merge(mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        runs = mask.frPyObjects(segmentation, height, width)
    else:
        runs = segmentation
    return torch.from_numpy(mask.decode(runs))


# -------------------------------------------------------------------------------------------------------- results


def results(detector: Detector, pictures: CocoInstances) -> list[dict[str, Any]]:
    """What the detector finds in every picture, in COCO's results format.

    A detector takes a list of pictures and gives torchvision's dicts: boxes, labels, scores and perhaps masks.
    """
    detections: list[dict[str, Any]] = []
    with torch.no_grad():
        for image_id in pictures.image_ids:
            (output,) = detector([pictures.picture(image_id)])
            detections.extend(entries(output, image_id, pictures.categories))
    return detections


def entries(output: Mapping[str, Tensor], image_id: int, categories: Sequence[int]) -> Iterable[dict[str, Any]]:
    """One dict a detection of one image; `categories` says which id label 1, 2, ... has."""
    boxes = output["boxes"].double().cpu()
    sizes = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()
    rows = zip(sizes, output["labels"].tolist(), output["scores"].tolist(), strict=True)
    for number, (box, label, score) in enumerate(rows):
        entry = {"image_id": image_id, "category_id": categories[label - 1], "bbox": box, "score": score}
        if "masks" in output:
            entry["segmentation"] = _runs(output["masks"][number])
        yield entry


def _runs(mask: Tensor) -> dict[str, Any]:
    drawn = (mask.reshape(mask.shape[-2:]) > MASK_FROM).to(torch.uint8).cpu().numpy()
    runs = _pycocotools().mask.encode(np.asfortranarray(drawn))
    return {"size": list(runs["size"]), "counts": runs["counts"].decode("ascii")}


@renamed_keyword("found", "detections")
def write_results(path: str | os.PathLike[str], detections: Sequence[Mapping[str, Any]]) -> Path:
    """The results as the JSON that COCO's server and `COCO.loadRes` take."""
    target = Path(path)
    target.write_text(json.dumps(list(detections), separators=(",", ":")))
    return target


@dataclass(frozen=True)
class AtSize:
    """A network for batches of one size, such as YOLACT, as a detector: pictures are stretched, detections put back."""

    model: nn.Module
    size: tuple[int, int] = (550, 550)

    def __call__(self, pictures: list[Tensor]) -> list[dict[str, Tensor]]:
        return [self._one(picture) for picture in pictures]

    def _one(self, picture: Tensor) -> dict[str, Tensor]:
        height, width = picture.shape[-2:]
        stretched = F.interpolate(picture[None], size=self.size, mode="bilinear", align_corners=False)
        (output,) = self.model(stretched)
        scale = output["boxes"].new_tensor([width / self.size[1], height / self.size[0]]).repeat(2)
        masks = output["masks"]
        if len(masks):
            masks = F.interpolate(masks, size=(height, width), mode="bilinear", align_corners=False)
        return {**output, "boxes": output["boxes"] * scale, "masks": masks.reshape(-1, 1, height, width)}


# ------------------------------------------------------------------------------------------------------- precision


@renamed_keyword("found", "detections")
def evaluate(pictures: CocoInstances, detections: Sequence[Mapping[str, Any]]) -> dict[Kind, Score]:
    """COCO's precision of boxes and, if the detections have them, of masks."""
    nothing = Score(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)  # pycocotools takes no empty list of results
    return _judged(pictures, detections, _score) if detections else {"boxes": nothing, "masks": nothing}


def _judged(
    pictures: CocoInstances, detections: Sequence[Mapping[str, Any]], judge: Callable[[Any], Judged]
) -> dict[Kind, Judged]:
    """What `judge` makes of pycocotools' matches of boxes and, if the detections have them, of masks."""
    tools = _pycocotools()
    kinds: dict[Kind, str] = {"boxes": "bbox"}
    if "segmentation" in detections[0]:
        kinds["masks"] = "segm"
    with contextlib.redirect_stdout(io.StringIO()):
        truth = tools.coco.COCO(str(pictures.annotations))
        return {kind: judge(_matched(tools, truth, detections, name)) for kind, name in kinds.items()}


def _matched(tools: Any, truth: Any, detections: Sequence[Mapping[str, Any]], kind: str) -> Any:
    rows = [{k: v for k, v in entry.items() if kind == "segm" or k != "segmentation"} for entry in detections]
    judged = tools.cocoeval.COCOeval(truth, truth.loadRes(rows), kind)
    judged.evaluate()
    return judged


def _score(matched: Any) -> Score:
    matched.accumulate()
    matched.summarize()
    return Score(*(float(value) for value in matched.stats[:6]))


def precisions(
    pictures: CocoInstances, detections: Sequence[Mapping[str, Any]], groups: int
) -> dict[Kind, list[float]]:
    """The mean precision over all pictures, then without each of `groups` parts of them, whose spread is its error."""
    if not detections:
        return {"boxes": [0.0] * (1 + groups), "masks": [0.0] * (1 + groups)}
    return _judged(pictures, detections, lambda matched: _with_and_without(matched, groups))


def _with_and_without(judged: Any, groups: int) -> list[float]:
    """pycocotools keeps its matches by category, size and picture, so that pictures can be left out afterwards."""
    images, values = list(judged.params.imgIds), []
    table = np.array(judged.evalImgs, dtype=object).reshape(-1, len(images))
    for left_out in (None, *range(groups)):
        kept = [i for i in range(len(images)) if left_out is None or i % groups != left_out]
        judged.params.imgIds = judged._paramsEval.imgIds = [images[i] for i in kept]
        judged.evalImgs = table[:, kept].ravel().tolist()
        values.append(_score(judged).ap)
    return values


def _pycocotools() -> Any:
    try:
        import pycocotools.coco
        import pycocotools.cocoeval
        import pycocotools.mask
    except ImportError as error:
        raise MissingExtra("COCO's masks and evaluation need pycocotools; install infoprune[coco]") from error
    return pycocotools
