"""Callbacks for other toolkits' training loops, one module each: `import infoprune.integrations.lightning`.

Nothing here is imported by `import infoprune`, so that a toolkit loads when its module is asked for and not before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from infoprune.errors import MissingExtra


@contextmanager
def toolkit(name: str, *, extra: str) -> Iterator[None]:
    """Around the import of a toolkit: where it is absent, MissingExtra says which extra installs it.

    A toolkit that is there but lacks something of its own fails as it would anywhere.

    >>> with toolkit("no_such_toolkit", extra="none"):
    ...     import no_such_toolkit.training
    Traceback (most recent call last):
    ...
    infoprune.errors.MissingExtra: no_such_toolkit is not installed; pip install 'infoprune[none]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != name:
            raise
        raise MissingExtra(f"{name} is not installed; pip install 'infoprune[{extra}]'") from error
