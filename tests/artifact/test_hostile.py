"""Files that lie: one typed error, no code run, bounded memory."""

import base64
import json
import random
import resource
import struct
import zlib

import pytest
import torch
import torch_pruning as tp
from tests.small_nets import Residual, image, make

import infoprune as ip
from infoprune.artifact.layout import content_digest

MANY = pytest.mark.parametrize("mutations", [800, pytest.param(8000, marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    torch.set_num_threads(1)
    model = make(Residual)
    plan = ip.plan(model, image(), tp.importance.MagnitudeImportance(p=2), budgets=[ip.budgets.macs(keep=0.5)])
    ip.prune_(model, image(), plan)
    with torch.no_grad():
        expected = model(image())
    return ip.save(tmp_path_factory.mktemp("hostile") / "a", model, plan), expected


def loads_or_refuses(directory, expected):
    """Either a typed error, or (where the change meant nothing) the very same model."""
    try:
        model = ip.load(directory, factory=Residual)
    except ip.errors.BadArtifact as error:
        assert len(str(error)) < 2000
        return "refused"
    with torch.no_grad():
        assert torch.equal(model(image()), expected)
    return "loaded"


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Bits flipped, bytes cut out, inserted or doubled, or the end missing."""
    kind = rng.randrange(5)
    place = rng.randrange(len(data))
    if kind == 0:
        return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]
    if kind == 1:
        return data[:place]
    if kind == 2:
        return data[:place] + rng.randbytes(rng.randrange(1, 40)) + data[place:]
    if kind == 3:
        return data[:place] + data[place + rng.randrange(1, 200) :]
    return data[:place] + data[max(0, place - rng.randrange(1, 100)) :]


HOSTILE = (
    -1, 0, 2**31, 2**63, 10**400, 1e308, float("nan"), True, None, "", "../../etc/passwd", "os.system", "__class__",
    "a" * 100_000, [], {}, [[]], [None], {"__reduce__": 1}, "hf-hub:evil/model", "weight\x00", [2**40] * 4,
)  # fmt: skip


def rewritten(config: dict, rng: random.Random) -> dict:
    """One value somewhere inside replaced, removed or doubled; the digest is made to fit."""
    config = json.loads(json.dumps(config))
    node, path = config["infoprune"], []
    while isinstance(node, dict | list) and node:
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        path.append((node, key))
        if rng.random() < 0.25:
            break
        node = node[key]
    parent, key = rng.choice(path)
    action = rng.randrange(4)
    if action == 0 and isinstance(parent, dict):
        del parent[key]
    elif action == 1 and isinstance(parent, dict):
        parent["surprise"] = rng.choice(HOSTILE)
    elif action == 2 and isinstance(parent, list):
        parent.insert(rng.randrange(len(parent) + 1), rng.choice([*parent, *HOSTILE]))
    else:
        parent[key] = rng.choice(HOSTILE)
    config["digest"] = content_digest(config["infoprune"])
    return config


@MANY
def test_mutations_are_refused_or_harmless(artefact, tmp_path, mutations):
    source, expected = artefact
    config, weights = (source / "config.json").read_bytes(), (source / "model.safetensors").read_bytes()
    rng = random.Random(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = {"refused": 0, "loaded": 0}
    for number in range(mutations):
        text, blob = config, weights
        if number % 4 == 0:
            text = flipped(config, rng)
        elif number % 4 == 1:
            blob = flipped(weights, rng)
        else:
            text = json.dumps(rewritten(json.loads(config), rng)).encode()
        (tmp_path / "config.json").write_bytes(text)
        (tmp_path / "model.safetensors").write_bytes(blob)
        outcomes[loads_or_refuses(tmp_path, expected)] += 1
    assert sum(outcomes.values()) == mutations
    assert outcomes["refused"] > 0.85 * mutations
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000, "KiB grown"


def rewrite(source, target, change):
    config = json.loads((source / "config.json").read_text())
    change(config["infoprune"])
    config["digest"] = content_digest(config["infoprune"])
    target.mkdir(exist_ok=True)
    (target / "config.json").write_text(json.dumps(config))
    (target / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    return target


def test_a_name_that_fetches_or_imports_is_not_built(artefact, tmp_path):
    for source, name in (("timm", "hf-hub:someone/else"), ("timm", "local-dir:/etc"), ("torchvision", "os.system")):
        bad = rewrite(
            artefact[0], tmp_path / "a", lambda c, s=source, n=name: c["architecture"].update(source=s, name=n)
        )
        with pytest.raises(ip.errors.BadArtifact, match="lists no model"):
            ip.load(bad)


def test_attributes_that_are_not_plain_numbers_are_not_set(artefact, tmp_path):
    for attribute in ("__class__", "_modules", "forward", "training", "weight"):

        def change(config, attribute=attribute):
            config["plans"][0]["edits"][0]["attributes"] = [["one", attribute, None, 1]]

        with pytest.raises(ip.errors.BadArtifact):
            ip.load(rewrite(artefact[0], tmp_path / "a", change), factory=Residual)


def test_other_versions_are_named(artefact, tmp_path):
    with pytest.raises(ip.errors.BadArtifact, match="schema 3, this release reads 1 and 2; update infoprune"):
        ip.load(rewrite(artefact[0], tmp_path / "a", lambda c: c.update(schema=3)), factory=Residual)


def test_a_header_that_claims_terabytes_allocates_nothing(artefact, tmp_path):
    header = json.dumps({"stem.weight": {"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}}).encode()
    target = rewrite(artefact[0], tmp_path / "a", lambda c: None)
    (target / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ip.errors.BadArtifact, match="not a safetensors file"):
        ip.load(target, factory=Residual)


def test_swapped_weights_are_caught(artefact, tmp_path):
    """Right shapes, other values: the digest of the file and the probe both stand in the way."""
    from safetensors.torch import load_file, save_file

    target = rewrite(artefact[0], tmp_path / "a", lambda c: None)
    state = {k: v + 1 for k, v in load_file(target / "model.safetensors").items()}
    save_file(state, target / "model.safetensors")
    with pytest.raises(ip.errors.BadArtifact, match="was changed after it was written"):
        ip.load(target, factory=Residual)
    from infoprune.files import digest_of

    honest = digest_of(target / "model.safetensors")
    config = json.loads((target / "config.json").read_text())
    config["infoprune"]["sha256"] = honest
    config["digest"] = content_digest(config["infoprune"])
    (target / "config.json").write_text(json.dumps(config))
    with pytest.raises(ip.errors.BadArtifact, match="outputs differ"):
        ip.load(target, factory=Residual)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(artefact, tmp_path, missing):
    target = rewrite(artefact[0], tmp_path / "a", lambda c: None)
    (target / missing).unlink()
    with pytest.raises(ip.errors.BadArtifact, match=f"holds no {missing}"):
        ip.load(target, factory=Residual)


class Called(torch.nn.Module):
    """Takes one argument of every kind that a config tells."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = torch.nn.Embedding(20, 8)
        self.a, self.b = torch.nn.Linear(8, 16), torch.nn.Linear(16, 3)

    def forward(self, *, ids, mask, parts, share, mode):
        x = self.words(ids) * mask[..., None] + parts["image"][0] * share + parts["pair"][1]
        return self.b(torch.relu(self.a(x))) if mode == "test" else x


CALL = {
    "ids": torch.tensor([[19, 3]]), "mask": torch.tensor([[True, False]]), "share": 0.5, "mode": "test",
    "parts": {"image": [torch.rand(1, 2, 8)], "pair": (None, 2)},
}  # fmt: skip


@pytest.fixture(scope="module")
def called(tmp_path_factory):
    model = Called().eval()
    plan = ip.plan(model, CALL, tp.importance.MagnitudeImportance(p=2), budgets=[ip.budgets.macs(keep=0.5)])
    ip.prune_(model, CALL, plan)
    with torch.no_grad():
        expected = model(**CALL)
    return ip.save(tmp_path_factory.mktemp("called") / "a", model, plan), expected


@MANY
def test_mutations_of_a_call_are_refused_or_harmless(called, tmp_path, mutations):
    source, expected = called
    config, rng = json.loads((source / "config.json").read_text()), random.Random(1)
    (tmp_path / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = {"refused": 0, "loaded": 0}
    for _ in range(mutations // 2):
        plan = config["infoprune"]["plans"][0]
        changed = rewritten({"infoprune": {"inputs": plan["inputs"]}}, rng)["infoprune"].get("inputs")
        inner = {**config["infoprune"], "plans": [{**plan, "inputs": changed}]}
        text = json.dumps({**config, "infoprune": inner, "digest": content_digest(inner)})
        (tmp_path / "config.json").write_text(text)
        try:
            again = ip.load(tmp_path, factory=Called)
            assert torch.equal(again(**CALL), expected)
            outcomes["loaded"] += 1
        except ip.errors.BadArtifact as error:
            assert len(str(error)) < 2000
            outcomes["refused"] += 1
    assert outcomes["refused"] > 0.8 * (mutations // 2), "the others swapped equals, or ids that the model takes too"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000, "KiB grown"


def bomb():
    return base64.b64encode(zlib.compress(bytes(1 << 24), 9)).decode()


def deep(levels):
    return [[deep(levels - 1)], "list"] if levels else [1, "value"]


@pytest.mark.parametrize(
    "told",
    [
        [[2**20, 2**20], "int64", [0, 1]],
        [[2**20], "float32", bomb()],
        [[4], "bool", base64.b64encode(zlib.compress(b"\x07\x01\x00\x01")).decode()],
        [[4], "int64", "%%%"],
        [[4], "int64", [5, 1]],
        [[4], "int64", [float("nan"), 1]],
        [[4], "__class__", [0, 1]],
        [[4], "set_default_dtype", [0, 1]],
        ["os.system", "object"],
        [{"__reduce__": 1}, "value"],
        [[["ids", [[1], "int64"]]], "keywords"],
        deep(8),
        [[[[1 << 14, 1 << 12], "float32"]] * 64, "list"],
    ],
    ids=lambda told: str(told[1]),
)
def test_a_call_that_lies_is_refused_without_memory_for_it(artefact, tmp_path, told):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ip.errors.BadArtifact):
        ip.load(
            rewrite(artefact[0], tmp_path / "a", lambda c: c["plans"][0].update(inputs=[told, told])), factory=Residual
        )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000, "KiB grown"
