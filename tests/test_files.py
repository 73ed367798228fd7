"""Files that are whole or absent, and directories that one process holds."""

import os
import signal

import pytest
import torch
from torch import nn

import infoprune as ip
from infoprune import files
from infoprune.errors import InfopruneError
from infoprune.files import held, require_writable, write_atomically
from tests.kill_points import draws, writes_before


def test_killed_at_any_step_the_old_or_the_new_text_is_there(tmp_path):
    path = tmp_path / "a.json"
    write_atomically(path, b"old")
    steps = writes_before(lambda: write_atomically(path, b"new"))
    assert steps >= 2
    write_atomically(path, b"old")
    for step in draws(20, steps):
        writes_before(lambda: write_atomically(path, b"new"), step)
        assert path.read_bytes() in (b"old", b"new")
    write_atomically(path, b"last")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.json", b"last")]


def test_observations_are_the_old_or_the_new_ones(tmp_path):
    def seen(samples):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        return ip.observe(model, [torch.randn(8, 3) for _ in range(samples // 8)], progress=False)

    old, new, path = seen(16), seen(32), tmp_path / "seen.safetensors"
    old.save(path)
    for step in range(writes_before(lambda: new.save(path))):
        old.save(path)
        writes_before(lambda: new.save(path), step)
        assert ip.Observations.load(path).samples in (16, 32)
    new.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["seen.safetensors"]


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    write_atomically(tmp_path / "a", b"old")
    monkeypatch.setattr(files, "sync", lambda path: (_ for _ in ()).throw(OSError("No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "a", b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"old")]


@pytest.mark.parametrize("stray", ["file", "directory"])
def test_a_stray_draft_does_not_block(tmp_path, stray):
    draft = tmp_path / ".a.partial"
    draft.mkdir() if stray == "directory" else draft.write_text("cut sho")
    write_atomically(tmp_path / "a", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_the_second_is_told_who_holds_a_directory(tmp_path):
    with held(tmp_path / "run"):
        with pytest.raises(InfopruneError, match=rf"run is at work already \(process {os.getpid()} on .*, since 20"):
            held(tmp_path / "run").__enter__()
        with held(tmp_path / "other"):
            pass
    with held(tmp_path / "run"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_holds_nothing(tmp_path):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with held(tmp_path / "run"):
            os.write(writing, b"held")
            signal.pause()
    os.read(reading, 4)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with held(tmp_path / "run"):
        pass


@pytest.mark.parametrize("path", ["file/run", "/proc/nothing/run"])
def test_what_cannot_be_written_is_told_before(tmp_path, path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InfopruneError, match=r"cannot be written \(.*\); choose another --out"):
        require_writable(tmp_path / path)
    assert (tmp_path / "file").read_text() == "x"


def test_what_can_be_written_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in ("file", "new", "deep/down/new", "."):
        require_writable(tmp_path / path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
