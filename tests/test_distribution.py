"""What is published holds what it should and nothing else."""

import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parent.parent
KINDS = {
    ".py", ".md", ".json", ".jsonl", ".toml", ".yaml", ".yml", ".css", ".svg", ".png", ".cff", ".txt", ".ipynb", ".npz",
    ".safetensors", ".typed", ".pem", "",
}  # fmt: skip

NEEDED = (
    "src/infoprune/py.typed", "README.md", "LICENSE", "PKG-INFO", "CITATION.cff", "docs/index.md", "tests/conftest.py",
    "recipes/quickstart.yaml", "benchmarks/RESULTS.md", ".ci/run", ".github/workflows/ci.yml",
)  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The files of sdist and wheel, each with its members."""
    folder = str(tmp_path_factory.mktemp("dist"))
    sdist = Path(next(SdistBuilder(str(ROOT)).build(directory=folder, versions=["standard"])))
    wheel = Path(next(WheelBuilder(str(ROOT)).build(directory=folder, versions=["standard"])))
    with tarfile.open(sdist) as tar, zipfile.ZipFile(wheel) as archive:
        return {"sdist": (sdist, tar.getnames()), "wheel": (wheel, archive.namelist())}


def test_the_wheel_holds_the_package_and_its_licence_alone(built):
    path, names = built["wheel"]
    source = {
        f"infoprune/{p.relative_to(ROOT / 'src/infoprune').as_posix()}"
        for p in (ROOT / "src").rglob("*")
        if p.is_file()
    }
    package = {name for name in names if name.startswith("infoprune/")}
    assert package == {name for name in source if "__pycache__" not in name}
    assert {PurePosixPath(name).name for name in set(names) - package} == {
        "METADATA",
        "WHEEL",
        "RECORD",
        "LICENSE",
        "entry_points.txt",
    }
    assert path.stat().st_size < 1_000_000


def test_the_sdist_holds_what_its_tests_need(built):
    path, names = built["sdist"]
    files = {name.partition("/")[2] for name in names}
    for needed in NEEDED:
        assert needed in files
    assert path.stat().st_size < 6_000_000


def test_the_sdist_holds_nothing_that_lay_around(built):
    files = [PurePosixPath(name).relative_to(PurePosixPath(name).parts[0]) for name in built["sdist"][1]]
    assert {path.suffix for path in files} <= KINDS
    assert [path for path in files if {"__pycache__", ".venv", "site", "runs", "wheels"} & set(path.parts)] == []
    assert [path for path in files if path.name.startswith(".coverage") or path.parts[1:2] == ("results_work",)] == []
