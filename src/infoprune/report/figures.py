"""Empty figures for notebooks and papers. A page draws its own in `svg`, which needs no package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infoprune.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def empty(width: float, height: float) -> Figure:
    """In inches, apart from pyplot's global state."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("plots need matplotlib; install infoprune[report]") from error
    return Figure(figsize=(width, height), layout="constrained")


def open_axes(axes: Axes) -> Axes:
    """Without the lines at the top and on the right."""
    axes.spines[["top", "right"]].set_visible(False)
    return axes
