"""Model and data may live on another device than the CPU; one is made of the CPU's memory, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_what_is_public_works_there():
    around = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    words = ("-n", "0", "-p", "no:cacheprovider", "tests/devices/checks.py")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=ROOT, env=around, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
