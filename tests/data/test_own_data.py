"""Data of one's own, in whatever form people have them, and the pictures that lie at a path."""

import io
import json
import random
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from infoprune.data import View, datasets, examples_of, named_by, own_task
from infoprune.data.held_out import split
from infoprune.errors import BadOwnCode, MissingData, MissingExtra, UnusableData

TOLD = {"view": View(), "size": 8}


class Pairs(Dataset):
    def __init__(self, n=10, form="tuple"):
        self.n, self.form = n, form

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        x, y = torch.full((3, 8, 8), float(i)), i % 3
        return {"tuple": (x, y), "dict": {"pixel_values": x, "labels": torch.tensor(y)}, "extra": (x, y, "name")}[
            self.form
        ]


@pytest.mark.parametrize("form", ["tuple", "dict", "extra"])
@pytest.mark.parametrize("loader", [False, True])
def test_data_sets_and_their_loaders_are_examples(form, loader):
    source = Pairs(form=form)
    found = examples_of(DataLoader(source, batch_size=4, shuffle=True) if loader else source, **TOLD)
    x, y = found.batch(0, [4, 1])
    assert (len(found), x.shape, y.tolist()) == (10, (2, 3, 8, 8), [1, 1])
    assert x[:, 0, 0, 0].tolist() == [4, 1]
    assert found.classes == 3


def test_a_loader_keeps_its_own_collate():
    def doubled(items):
        return {"image": torch.stack([2 * x for x, _ in items]), "target": torch.tensor([y for _, y in items])}

    x, _ = examples_of(DataLoader(Pairs(), collate_fn=doubled), **TOLD).batch(0, [3])
    assert x[0, 0, 0, 0] == 6


def test_streams_and_lists_of_batches_are_read_once():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([(torch.full((3, 8, 8), float(i)), i) for i in range(5)])

    for source in (DataLoader(Stream(), batch_size=2), [(torch.zeros(4, 3, 8, 8), torch.arange(4))]):
        found = examples_of(source, **TOLD)
        assert found.batch(0, [3])[1].tolist() == [3]


def test_what_is_drawn_at_random_depends_on_seed_epoch_and_index_alone():
    class Jitter(Pairs):
        def __getitem__(self, i):
            return torch.randn(3, 8, 8) + random.random() + np.random.rand(), 0

    found, before = examples_of(Jitter(), **TOLD), torch.get_rng_state()
    one, again = found.batch(2, [5, 1])[0], found.batch(2, [1, 5])[0].flip(0)
    assert torch.equal(one, again)
    assert not torch.equal(one, found.batch(3, [5, 1])[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_pictures_are_seen_as_the_network_wants():
    picture = Image.fromarray(np.full((10, 20, 3), 255, np.uint8))
    view = View(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    for item in (picture, np.asarray(picture), torch.full((3, 8, 8), 255, dtype=torch.uint8)):
        x, _ = examples_of([(item, 0)], view=view, size=8).batch(0, [0])
        assert x.shape == (1, 3, 8, 8)
        torch.testing.assert_close(x, torch.full_like(x, 2.0))


def test_classes_are_those_that_the_data_set_names():
    named = TensorDataset(torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.long))
    named.classes = ["a", "b", "c"]
    for source in (named, Subset(named, [0, 1]), split(named)[0]):
        assert examples_of(source, **TOLD).classes == 3


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ({"colour": 1}, "an example has the keys colour; give one of image"),
        (torch.zeros(3), "an example is a Tensor; give"),
        ((torch.zeros(3, 8, 8), 0.5), "is not the number of a class"),
        (("a.png", 0), "x is a str; give a picture"),
    ],
)
def test_what_cannot_be_an_example_is_said(item, told):
    with pytest.raises(UnusableData, match=told):
        examples_of([item], **TOLD).batch(0, [0])


# --------------------------------------------------------------------------------------------------- from a file


CODE = """
import torch
from torch.utils.data import TensorDataset

def pictures(n):
    return TensorDataset(torch.zeros(n, 3, 8, 8), torch.arange(n) % 4)

class Halves:
    def __new__(cls, root=None, train=True, n=8): return pictures(n if train else 4)

def by_split(split, n=8):
    if split not in ("train", "test"): raise ValueError(split)
    return pictures(n if split == "train" else 4)

def pair(size=None): return pictures(8), pictures(4)
def one(): return pictures(20)
ready = pictures(10)
def broken(): raise RuntimeError("no disk")
def wrong(): return 3
def flat(): return TensorDataset(torch.zeros(10, 5), torch.arange(10))
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    return tmp_path / "mine.py"


@pytest.mark.parametrize(
    ("name", "sizes"), [("Halves", (8, 4)), ("by_split", (8, 4)), ("pair", (8, 4)), ("one", (16, 4)), ("ready", (8, 2))]
)
def test_a_name_in_a_file_gives_both_halves(file, name, sizes):
    task = own_task(file, name, size=8)
    assert (len(task.train), len(task.held_out)) == sizes
    assert (task.classes, task.shape) == (4, (3, 8, 8))


def test_options_reach_it_and_others_are_told(file):
    assert len(own_task(file, "Halves", options={"n": 6}).train) == 6
    with pytest.raises(BadOwnCode, match="unexpected keyword argument 'm'; it takes"):
        own_task(file, "Halves", options={"m": 6})


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("paire", "mine.py has no 'paire'; did you mean 'pair'"),
        ("broken", "failed \\(RuntimeError: no disk\\)"),
        ("wrong", "gives a int; it must give a data set"),
    ],
)
def test_what_a_name_cannot_be_is_one_sentence(file, name, told):
    with pytest.raises(BadOwnCode, match=told) as found:
        own_task(file, name)
    assert "\n" not in str(found.value)


def test_data_without_pictures_are_told(file):
    with pytest.raises(UnusableData, match="give pictures, c x h x w"):
        own_task(file, "flat")


def test_a_file_runs_once_and_finds_what_lies_beside(tmp_path):
    (tmp_path / "beside_it.py").write_text("number = 8")
    (tmp_path / "counted.py").write_text(
        CODE + "\nimport beside_it, pathlib\nwith open(__file__ + '.runs', 'a') as f: f.write('x')"
    )
    for _ in range(2):
        own_task(tmp_path / "counted.py", "pair")
    assert (tmp_path / "counted.py.runs").read_text() == "x"


# ----------------------------------------------------------------------------------------------------- by a path


def picture(colour):
    return Image.fromarray(np.full((12, 16, 3), colour, np.uint8))


def class_folders(root, each=10):
    for c, name in enumerate(("ant", "bee")):
        (root / name).mkdir(parents=True)
        for i in range(each):
            picture(100 * c + i).save(root / name / f"{i}.png")
    return root


def shard(path, keys, suffix=".cls", label=str):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for key in keys:
            bytes_ = io.BytesIO()
            picture(key).save(bytes_, "PNG")
            for name, data in ((f"{key:04d}.png", bytes_.getvalue()), (f"{key:04d}{suffix}", label(key % 3).encode())):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


def at(path, **options):
    return datasets[named_by(str(path))["name"]](path, size=8, **options)


def test_class_folders_alone_hold_every_fifth_out_whatever_the_seed(tmp_path):
    task, again = at(class_folders(tmp_path)), at(tmp_path, seed=7)
    assert (len(task.train), len(task.held_out), task.classes) == (16, 4, 2)
    assert again.held_out.items.indices == task.held_out.items.indices
    assert not {*task.train.items.indices} & {*task.held_out.items.indices}


def test_halves_may_be_called_valid(tmp_path):
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "valid", each=2)
    assert len(at(tmp_path).held_out) == 4


def test_one_half_alone_is_told(tmp_path):
    class_folders(tmp_path / "train")
    with pytest.raises(MissingData, match="val half of the pictures"):
        at(tmp_path)


@pytest.mark.parametrize("suffix", [".cls", ".json"])
def test_tar_shards_are_read_where_pictures_lie(tmp_path, suffix):
    label = str if suffix == ".cls" else lambda n: json.dumps({"label": n})
    shard(tmp_path / "train-000.tar", range(6), suffix, label)
    shard(tmp_path / "train-001.tar", range(6, 9), suffix, label)
    shard(tmp_path / "val-000.tar", range(3), suffix, label)
    task = at(tmp_path, view=View(mean=(0, 0, 0), std=(1, 1, 1)))
    assert (task.name, len(task.train), len(task.held_out), task.classes) == ("webdataset", 9, 3, 3)
    x, y = task.held_out.batch(0, [2, 0])
    assert y.tolist() == [2, 0]
    torch.testing.assert_close(x[:, 0, 0, 0], torch.tensor([2 / 255, 0]))


def test_shards_that_name_no_half_are_split(tmp_path):
    shard(tmp_path / "shard-0.tar", range(10))
    assert (len(at(tmp_path).train), len(at(tmp_path / "shard-0.tar").held_out)) == (8, 2)


def test_a_shard_without_numbers_is_told(tmp_path):
    shard(tmp_path / "a.tar", range(3), label=lambda n: "cat")
    with pytest.raises(UnusableData, match="holds no number of a class"):
        at(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"not a tar" * 100)
    with pytest.raises(UnusableData, match="is not a plain tar file"):
        at(tmp_path)


def to_disk(root, halves=True):
    hub = pytest.importorskip("datasets")
    features = hub.Features({"image": hub.Image(), "label": hub.ClassLabel(names=["a", "b", "c"])})
    table = {"image": [picture(i) for i in range(10)], "label": [i % 2 for i in range(10)]}
    whole = hub.Dataset.from_dict(table, features=features)
    (hub.DatasetDict({"train": whole, "test": whole.select(range(4))}) if halves else whole).save_to_disk(root)
    return root


@pytest.mark.parametrize("halves", [True, False])
def test_what_hugging_face_saved_to_disk_is_read(tmp_path, halves):
    task = at(to_disk(tmp_path / "d", halves))
    assert (len(task.train), len(task.held_out), task.classes) == ((10, 4, 3) if halves else (8, 2, 3))
    assert task.held_out.batch(0, [0, 1])[0].shape == (2, 3, 8, 8)


def test_without_the_package_its_data_are_one_sentence(tmp_path, monkeypatch):
    import sys

    (tmp_path / "state.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"install infoprune\[datasets\]"):
        at(tmp_path)


def test_a_word_that_is_no_data_set_and_no_path_is_told():
    assert named_by("digits") == {"name": "digits"}
    assert named_by("data.py:Mine") == {"file": "data.py", "name": "Mine"}
    with pytest.raises(MissingData, match="is neither a data set nor a path that exists; did you mean 'digits'"):
        named_by("digit")
    with pytest.raises(BadOwnCode, match=r"name what is meant in it: data\.py:NAME"):
        named_by("data.py")
