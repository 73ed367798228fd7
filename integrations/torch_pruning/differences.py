"""Write what changes between each script of `stock/` and its namesake of `changed/` into docs/torch-pruning.md.

python integrations/torch_pruning/differences.py
"""

import argparse
import ast
import difflib
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PAGE = FOLDER.parent.parent / "docs" / "torch-pruning.md"
INTRODUCTION = """# torch-pruning scripts, before and after

Each difference is between two scripts that the tests run, and is written by
`python integrations/torch_pruning/differences.py`. The scripts are in
[integrations/torch_pruning](../integrations/torch_pruning/README.md).
"""


def difference(stock: Path, changed: Path) -> list[str]:
    """The lines that go and come, without the lines around them."""
    before, after = (path.read_text().splitlines() for path in (stock, changed))
    lines = difflib.unified_diff(before, after, lineterm="", n=0)
    return [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---") and line[1:].strip()]


def page() -> str:
    sections = [INTRODUCTION]
    for changed in sorted(FOLDER.glob("changed/*.py")):
        stock = FOLDER / "stock" / changed.name
        about = (ast.get_docstring(ast.parse(stock.read_text())) or "").splitlines()[0].partition(": ")[2]
        lines = "\n".join(difference(stock, changed))
        title, about = changed.stem.replace("_", " ").capitalize(), about[0].upper() + about[1:]
        sections.append(f"## {title}\n\n{about}\n\n```diff\n{lines}\n```\n")
    return "\n".join(sections)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    PAGE.write_text(page())
