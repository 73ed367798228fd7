"""python -m infoprune.integrations.timm SCRIPT ...: run a script as it stands, with pruned artefacts known to timm."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from infoprune.integrations.timm import infoprune as infoprune  # importing it registers the name

USAGE = """usage: python -m infoprune.integrations.timm SCRIPT [ARGUMENT ...]

Runs a script that builds its model by timm's create_model, unchanged. Its --model may then be
  local-dir:DIRECTORY   what infoprune.save wrote
  hf-hub:USER/NAME      the same, from the Hugging Face hub
  infoprune             with --model-kwargs directory=DIRECTORY
With --pretrained the weights are loaded; without it the pruned shape starts from new ones.

  python -m infoprune.integrations.timm validate.py --data-dir imagenet --model local-dir:runs/r50 --pretrained"""


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(USAGE)  # noqa: T201
        return
    script = Path(sys.argv[1])
    if not script.is_file():
        sys.exit(f"{script} is not a file; pass the script to run, as in train.py")
    del sys.argv[0]
    sys.path.insert(0, str(script.resolve().parent))
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
