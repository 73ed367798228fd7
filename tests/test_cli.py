"""The command: results on stdout, the rest on stderr, exit codes that scripts can use."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

import infoprune as ip
from infoprune.cli import main
from infoprune.recipe import build_network

MODEL = ["mobilenetv2_035", "--input", "1x3x64x64", "--num-classes", "5"]


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_plan_prints_a_table_and_writes_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "plan", *MODEL, "--macs", 0.5)
    assert code == 0
    assert out.startswith("site")
    assert "remain" in out
    assert list(tmp_path.iterdir()) == []


def test_plan_as_json_is_a_plan_that_can_be_read_back_and_shown(capsys, tmp_path):
    code, out, _ = run(capsys, "plan", *MODEL, "--macs", 0.5, "--params", 0.8, "--json", "--out", tmp_path / "p.json")
    assert code == 0
    plan = ip.Plan.from_json((tmp_path / "p.json").read_text())
    assert json.loads(out) == json.loads(plan.to_json())
    assert plan.prices["macs"].keep <= 0.5
    assert run(capsys, "show", tmp_path / "p.json")[1].rstrip() == str(plan)


def test_units_are_ranked_by_readers_too_unless_told(capsys):
    def kept(*options):
        return json.loads(run(capsys, "plan", "resnet20_cifar", "--macs", 0.5, "--json", *options)[1])

    ours = ip.importance.CapacityIndependenceImportance(sigma=0.5, readers=True)
    model, x = build_network("resnet20_cifar"), torch.zeros(1, 3, 32, 32)
    expected = ip.plan(model, x, ours, budgets=[ip.budgets.macs(keep=0.5)])
    assert kept() == json.loads(expected.to_json()) != kept("--importance", "capacity_independence")


def test_prune_writes_an_artefact_that_loads_and_shows(capsys, tmp_path):
    code, out, err = run(
        capsys, "prune", *MODEL, "--macs", 0.5, "--out", tmp_path / "a", "--importance", "independence"
    )
    assert code == 0
    assert "certificate  exact" in out
    assert "building" in err
    assert ip.load(tmp_path / "a")(torch.randn(1, 3, 64, 64)).shape == (1, 5)
    code, out, _ = run(capsys, "show", tmp_path / "a")
    assert code == 0
    assert out.startswith("timm:mobilenetv2_035")


def test_what_could_be_compared_with_nothing_is_exit_code_4(capsys, tmp_path, monkeypatch):
    silent = ip.Certificate("not compared", 0.0, 0.0, "float64", (), "no output is other than zero")
    monkeypatch.setattr("infoprune.cli.commands.certificate_of", lambda *_: silent)
    code, out, _ = run(capsys, "prune", *MODEL, "--macs", 0.5, "--out", tmp_path / "a")
    assert code == 4
    assert "certificate  not compared: no output is other than zero" in out
    assert (tmp_path / "a").is_dir()


def test_a_budget_that_cannot_be_met_is_exit_code_3(capsys, tmp_path):
    code, out, err = run(capsys, "prune", *MODEL, "--macs", 0.0001, "--out", tmp_path / "a")
    assert (code, out) == (3, "")
    assert "cheapest reachable price" in err
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["plan", "resnet81", "--macs", "0.5"], "MODEL: neither infoprune nor timm"),
        (["plan", "resnet81", "--macs", "0.5"], "did you mean 'resnet"),
        (["plan", *MODEL], "nothing says how much is to stay; add a budget such as --macs 0.5"),
        (["plan", *MODEL, "--macs", "0.5", "--rates", "0.5"], "give one of them"),
        (
            ["plan", *MODEL, "--macs", "0.5", "--importance", "capacit"],
            "--importance: there is no importance",
        ),
        (["plan", *MODEL, "--macs", "0.5", "--solver", "geometrc"], "--solver: there is no solver"),
        (["plan", *MODEL, "--macs", "0.5", "--ignore", "conv_sten"], "--ignore names 'conv_sten', which is not in the"),
        (["plan", *MODEL, "--macs", "0.5", "--floor", "blokcs=0.5"], "floor names 'blokcs', which is not a site"),
        (["plan", *MODEL, "--macs", "0.5", "--importance", "energy"], "energy scores by data; add --data"),
        (["plan", *MODEL, "--macs", "0.5", "--layer-importance", "curves"], "curves scores by data; add --data"),
        (["plan", *MODEL, "--macs", "0.5", "--set", "finetune.lr=1"], "plan takes keys of budget, importance"),
        (["plan", *MODEL, "--macs", "0.5", "--set", "importance.sigma=2"], "importance.sigma"),
        (["plan", *MODEL, "--macs", "0.5", "--data", "digit"], "--data: 'digit' is neither a data set nor a path"),
        (["plan", *MODEL, "--macs", "0.5", "--weights", "nowhere.pth"], "--weights is 'nowhere.pth'; give the path"),
        (["plan", "nowhere.py:Net", "--macs", "0.5"], "MODEL is 'nowhere.py'; give the path of a Python file"),
        (["plan", "net.py", "--macs", "0.5"], "name what is meant in it: net.py:NAME"),
        (["observe", "resnet20_cifar", "--data", "digit", "--out", "x"], "--data: 'digit' is neither"),
        (["export", "nowhere", "x.onnx"], "nowhere is neither an artefact's directory nor that of a finished run"),
        (["finetune", "nowhere", "--data", "digits", "--out", "x"], "nowhere is neither an artefact's directory nor"),
    ],
)
def test_usage_errors_are_exit_code_2_and_one_line(capsys, arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert told in err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_other_errors_are_exit_code_1_and_one_line(capsys):
    code, out, err = run(capsys, "show", "nowhere")
    assert (code, out) == (1, "")
    assert "neither an artefact's directory nor a plan's file" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--budget", "macs", "is not of the form NAME=LIMIT"),
        ("--floor", "2", "2 is not a share that can stay"),
        ("--floor", "layer4=x", "is not a share such as 0.5"),
        ("--rates", "1", "1 is not a share that can leave"),
        ("--round-to", "0", "is not a whole number of at least 1"),
        ("--utility", "0.5", "is not a power from -64 to 0"),
        ("--utility", "-400", "is not a power from -64 to 0"),
        ("--input", "1x3xa", "is not of the form 1x3x224x224"),
        ("--input", "ids=1x4,1x4", "is not of the form"),
    ],
)
def test_options_are_read_before_anything_is_loaded(capsys, option, value, told):
    with pytest.raises(SystemExit) as found:
        main(["plan", "resnet18", option, value])
    assert found.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--macs", "1.5.2", "--macs is '1.5.2'; give a share that remains"),
        ("--budget", "mcas=0.5", "there is no budget 'mcas'; did you mean 'macs'?"),
    ],
)
def test_budgets_are_read_before_anything_is_built(capsys, option, value, told):
    code, out, err = run(capsys, "plan", "resnet18", option, value)
    assert (code, out) == (2, "")
    assert told in err.splitlines()[-1]


def test_a_place_that_cannot_be_written_is_told_before_torch_is_loaded():
    loaded = (
        "import sys; from infoprune.cli.main import main; "
        "code = main(['plan', 'resnet18', '--macs', '0.5', '--out', '/proc/nowhere/plan.json']); "
        "print(code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True)
    assert "/proc/nowhere/plan.json cannot be written" in done.stderr
    assert done.stdout.split() == ["1", "False"]


def test_wrong_usage_is_exit_code_2(capsys):
    with pytest.raises(SystemExit) as found:
        main(["prune", "resnet18"])
    assert found.value.code == 2
    capsys.readouterr()


def test_help_teaches_with_an_example(capsys):
    for verb in ("plan", "prune", "sensitivity", "show", "doctor", "list"):  # the others: test_cli_running.py
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        assert f"example: infoprune {verb}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("what", ["importances", "budgets", "data", "solvers", "layerwise", "models"])
def test_lists_name_things(capsys, what):
    code, out, _ = run(capsys, "list", what)
    assert code == 0
    assert len(out.splitlines()) > 1
    rows = json.loads(run(capsys, "list", what, "--json")[1])
    assert all(row["name"] for row in rows)


def test_doctor_knows_what_is_installed(capsys):
    code, out, _ = run(capsys, "doctor")
    assert code == 0
    assert "torch-pruning" in out
    assert "BAD" not in out


def test_doctor_names_a_broken_pair_with_its_remedy(capsys, monkeypatch):
    from infoprune.cli import doctor

    monkeypatch.setattr(doctor.importlib, "import_module", lambda name: (_ for _ in ()).throw(RuntimeError("nms")))
    code, out, _ = run(capsys, "doctor")
    assert code == 1
    assert "RuntimeError: nms  ->  install both from one index" in out


def test_what_solvers_print_does_not_reach_stdout(capfd, monkeypatch):
    from infoprune.cli import listing

    def noisy(_):
        os.write(1, b"debug line\n")
        return listing.Result("the result", [])

    monkeypatch.setattr(listing, "list_command", noisy)
    assert main(["list", "budgets"]) == 0
    out, err = capfd.readouterr()
    assert out == "the result\n"
    assert "debug line" in err


def test_the_module_runs_as_the_command():
    done = subprocess.run([sys.executable, "-m", "infoprune", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("infoprune 0")


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["--help"], ["plan", "--help"], ["list", "importances"], ["list", "models"], ["completion"]],
)
def test_what_needs_no_network_answers_without_importing_torch(arguments):
    script = (
        "import sys; from infoprune.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "sys.stderr.write(' '.join({'torch', 'timm', 'scipy', 'torch_pruning'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout
    assert done.stderr == ""


def test_the_file_that_list_reads_says_what_is_registered():
    from infoprune.cli import listing

    again = "from infoprune.cli import listing as l; l.CATALOGUE.write_text(l.catalogue())"
    assert listing.CATALOGUE.read_text() == listing.catalogue(), f"write it again: python -c {again!r}"


def test_list_shows_what_other_packages_add(monkeypatch, capsys):
    from infoprune.cli import listing

    monkeypatch.setattr(listing, "entry_points", lambda: SimpleNamespace(groups={"infoprune.importance"}))
    monkeypatch.setitem(listing.REGISTERED, "importances", lambda: [("name",), ("theirs",)])
    assert run(capsys, "list", "importances")[1] == "name\ntheirs\n"
