"""Run the integrations' tests with the installed toolkits, then with the oldest ones that are supported.

The second environment holds the old packages alone and finds all others, torch among them, where this one has them.
"""

import argparse
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (
    "torch-pruning==1.6.0", "lightning==2.6.0", "pytorch-lightning==2.6.0",
    "timm==1.0.16", "transformers==4.46.0", "tokenizers>=0.20,<0.21", "huggingface_hub>=0.24,<1", "accelerate==1.0.1",
    "openvino==2025.0.0", "requests", "urllib3", "idna", "certifi", "charset_normalizer",
)  # fmt: skip
TESTS = tuple(
    f"tests/{name}.py"
    for name in (
        "artifact/test_from_pruner", "integrations/test_torch_pruning", "integrations/test_lightning",
        "integrations/test_timm", "integrations/test_hugging_face", "integrations/test_runtimes",
    )
)  # fmt: skip

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--folder", default="/tmp/infoprune-oldest", help="of the second environment")
parser.add_argument("--ends", nargs="+", choices=["newest", "oldest"], default=["newest", "oldest"])
parser.add_argument("--tests", nargs="+", default=TESTS, help="files of tests, all of these integrations by default")
options = parser.parse_args()


def environment(folder: Path) -> Path:
    """Its Python, made on the first call."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        site = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        Path(site, "zz_borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT / 'src'}\n")
        subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", *OLDEST], check=True)
    return python


def tested(python: str | Path, *settings: str) -> int:
    names = ("torch-pruning", "lightning", "timm", "transformers")
    told = f"from importlib.metadata import version; print(*(f'{{n}} {{version(n)}}' for n in {names}), sep=', ')"
    subprocess.run([python, "-c", told], check=True)
    quiet = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    return subprocess.run([python, "-m", "pytest", *settings, *options.tests], cwd=ROOT, env=quiet).returncode


def newest() -> int:
    return tested(sys.executable)


def oldest() -> int:
    """Old packages warn about new ones, which is none of ours."""
    return tested(environment(Path(options.folder)), "-W", "ignore")


ends = {"newest": newest, "oldest": oldest}
sys.exit(max(ends[end]() for end in options.ends))
