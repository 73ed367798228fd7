"""Charts as SVG text: colours come from the page's style, so that they follow its dark and light modes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from infoprune.report.model import Interval

WIDTH, HEIGHT = 480, 260
LEFT, RIGHT, TOP, BOTTOM = 92, 14, 14, 44  # at the left the axis' name and numbers of ten letters
PER_ROW = 18  # squares of a strip
KEY = 16  # height of a row of lines' names
LETTER = 6.6  # width of a letter at the page's font size, for deciding whether a label fits
BEFORE, AFTER = "#c3cad8", "#2f66c9"  # the light mode's, which figures on paper share
COLOURS = (AFTER, "#d1495b", "#c98a00", "#3f8f6b", "#8a5fa8", "#7d8899", "#0f8b9d", "#e0733a")  # of lines, in order


@dataclass(frozen=True)
class Scale:
    """Numbers between `low` and `high` as positions between `start` and `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round numbers inside the range, `about` of them."""
        raw = (self.high - self.low) / max(1, about)
        power = 10.0 ** math.floor(math.log10(raw))
        step = power * next((m for m in (1, 2, 5) if m * power >= raw), 10)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def spanning(values: Sequence[float], start: float, end: float, *, zero: bool = False) -> Scale:
    """A scale over all finite values with a little room, from zero if asked."""
    finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = (0.0 if zero else min(finite)), max(finite)
    room = 0.06 * ((high - low) or abs(high) or 1.0)
    return Scale(low if zero else low - room, high + room, start, end)


def chart(body: str, *, title: str, described: str, height: float = HEIGHT) -> str:
    """A figure that scales with the page; `described` is its text for those who can't see it."""
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'aria-label="{escape(described, quote=True)}">{body}</svg></figure>'
    )


def axes(x: Scale, y: Scale, *, x_name: str, y_name: str, x_text: Callable[[float], str] | None = None,
         y_text: Callable[[float], str] | None = None) -> str:  # fmt: skip
    """Horizontal grid lines with numbers, numbers below, and the names of both axes."""
    lines = [
        f'<line class="grid" x1="{x.start:.1f}" x2="{x.end:.1f}" y1="{y(t):.1f}" y2="{y(t):.1f}"/>'
        + text(x.start - 6, y(t) + 4, (y_text or number)(t), "end")
        for t in y.ticks()
    ]
    below = [text(x(t), HEIGHT - BOTTOM + 17, (x_text or number)(t), "middle") for t in x.ticks(4)] if x_text else []
    names = text((x.start + x.end) / 2, HEIGHT - 8, x_name, "middle", "name")
    turned = f'<g transform="rotate(-90 12 {HEIGHT / 2})">{text(12, HEIGHT / 2 + 4, y_name, "middle", "name")}</g>'
    return "".join(lines) + "".join(below) + names + turned


def line(points: Sequence[tuple[float, float]], kind: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{kind}" points="{path}"/>'


def dot(x: float, y: float, kind: str, label: str, radius: float = 4) -> str:
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"><title>{escape(label)}</title></circle>'


def whisker(x: float, low: float, high: float) -> str:
    return f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'


def bar(x: float, width: float, top: float, bottom: float, kind: str, label: str) -> str:
    height = max(0.0, bottom - top)
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}">'
        f"<title>{escape(label)}</title></rect>"
    )


def text(x: float, y: float, content: str, anchor: str = "start", kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'


def number(value: float) -> str:
    """Short: 1.5k, 40.8M, 0.25."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def percent(value: float) -> str:
    return f"{100 * value:.4g}%"


def shortened(name: str, letters: int) -> str:
    """A long name by its start and its end: names of layers differ at either."""
    half = letters // 2
    return name if len(name) <= letters else f"{name[: letters - half - 1]}…{name[-half:]}"


def coloured(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


# ------------------------------------------------------------------------------------------------- whole charts


def paired_bars(names: Sequence[str], before: Sequence[float], after: Sequence[float], *, title: str, y_name: str,
                shown: Callable[[float], str] = number) -> str:  # fmt: skip
    """Before as a pale bar, after as a strong one in front of it."""
    x = Scale(0, len(names), LEFT, WIDTH - RIGHT)
    y = spanning([*before, *after], HEIGHT - BOTTOM, TOP, zero=True)
    step = x(1) - x(0)
    bars = []
    for i, (name, was, now) in enumerate(zip(names, before, after, strict=True)):
        label = f"{name}: {shown(was)} before, {shown(now)} after"
        bars.append(bar(x(i) + 0.08 * step, 0.84 * step, y(was), y(0), "before", label))
        bars.append(bar(x(i) + 0.24 * step, 0.52 * step, y(now), y(0), "after", label))
    body = axes(x, y, x_name="sites in order", y_name=y_name, y_text=shown) + "".join(bars)
    return chart(body, title=title, described=f"{title}: {len(names)} pairs of bars, before and after")


def strip(names: Sequence[str], stays: Sequence[bool], *, title: str) -> str:
    """A square a name in reading order, filled where it stays."""
    columns = min(len(names), PER_ROW)
    side = (WIDTH - 2 * RIGHT) / max(columns, 10)
    height = side * math.ceil(len(names) / columns) + 2 * RIGHT
    squares = []
    for i, (name, stay) in enumerate(zip(names, stays, strict=True)):
        row, column = divmod(i, columns)
        label = f"{name} {'stays' if stay else 'is removed'}"
        squares.append(
            f'<rect class="{"after" if stay else "gone"}" x="{RIGHT + column * side + 2:.1f}" '
            f'y="{RIGHT + row * side + 2:.1f}" width="{side - 4:.1f}" height="{side - 4:.1f}">'
            f"<title>{escape(label)}</title></rect>"
        )
    described = f"{title}: {sum(stays)} squares of {len(names)} filled"
    return chart("".join(squares), title=title, described=described, height=height)


def intervals(names: Sequence[str], values: Sequence[Interval], *, title: str, x_name: str, y_name: str) -> str:
    """A dot a name with its interval."""
    x = Scale(0, len(names), LEFT, WIDTH - RIGHT)
    y = spanning([end for v in values for end in (v.low, v.high)], HEIGHT - BOTTOM, TOP)
    marks = [
        whisker(x(i + 0.5), y(v.low), y(v.high))
        + dot(x(i + 0.5), y(v.value), "after", f"{name}: {v.value:.3g} ({v.low:.3g} to {v.high:.3g})", 3)
        for i, (name, v) in enumerate(zip(names, values, strict=True))
    ]
    body = axes(x, y, x_name=x_name, y_name=y_name) + "".join(marks)
    return chart(body, title=title, described=f"{title}: {len(names)} values with intervals")


def curve(points: Sequence[tuple[float, float]], breaks: Sequence[float], *, title: str, x_name: str, y_name: str,
          shown: Callable[[float], str] = number, within: Interval | None = None) -> str:  # fmt: skip
    """A line through the points; `breaks` are drawn as upright lines.

    The axis shows all that lies `within`: what the last value's interval spans is no difference to fill it with.
    """
    x = spanning([p[0] for p in points], LEFT, WIDTH - RIGHT)
    ends = [] if within is None else [within.low, within.high]
    y = spanning([*(p[1] for p in points), *ends], HEIGHT - BOTTOM, TOP)
    upright = "".join(
        f'<line class="break" x1="{x(b):.1f}" x2="{x(b):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>' for b in breaks
    )
    body = axes(x, y, x_name=x_name, y_name=y_name, x_text=number, y_text=shown)
    body += upright + line([(x(a), y(b)) for a, b in points], "curve")
    return chart(body, title=title, described=f"{title}: {len(points)} points, last {shown(points[-1][1])}")


def lines(curves: Mapping[str, Sequence[tuple[float, float]]], *, title: str, x_name: str, y_name: str,
          dots: Mapping[str, Sequence[tuple[float, float]]] | None = None) -> str:  # fmt: skip
    """A line a name through its points, named below in its colour; `dots` stand alone in theirs."""
    alone = dots or {}
    every = [p for points in (*curves.values(), *alone.values()) for p in points]
    x = spanning([p[0] for p in every], LEFT, WIDTH - RIGHT)
    y = spanning([p[1] for p in every], HEIGHT - BOTTOM, TOP)
    body, names = axes(x, y, x_name=x_name, y_name=y_name, x_text=number), [*curves, *alone]
    for i, (name, points) in enumerate((*curves.items(), *alone.items())):
        marks = [
            dot(x(a), y(b), "", f"{name}: {number(a)}, {number(b)}", 3 if name in curves else 5) for a, b in points
        ]
        along = line([(x(a), y(b)) for a, b in points], "line") if name in curves else ""
        body += f'<g class="hue" color="{coloured(i)}">{along}{"".join(marks)}</g>'
    key = "".join(_key(i, name) for i, name in enumerate(names))
    height = HEIGHT + KEY * math.ceil(len(names) / 2)
    return chart(body + key, title=title, described=f"{title}: {', '.join(names)}", height=height)


def _key(place: int, name: str) -> str:
    """A dot and a name, two a row below the axes."""
    row, column = divmod(place, 2)
    x, y = LEFT + column * (WIDTH - LEFT) / 2, HEIGHT + KEY * row + 6
    mark = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    room = int((WIDTH - LEFT) / 2 / LETTER) - 2
    return f'<g class="hue" color="{coloured(place)}">{mark}</g>{text(x + 10, y + 4, shortened(name, room))}'


def triangle(points: Sequence[tuple[tuple[float, float, float], bool]], names: Sequence[str], *, title: str) -> str:
    """Weights of three that add up to one: filled where so marked. The first is on top, the others left and right."""
    side, top = 0.6 * WIDTH, TOP + 14.0
    left, bottom = (WIDTH - side) / 2, top + side * math.sqrt(0.75)
    corners = ((WIDTH / 2, top), (left, bottom), (left + side, bottom))

    def mark(weights: tuple[float, float, float], filled: bool) -> str:
        x, y = (sum(w * corner[axis] for w, corner in zip(weights, corners, strict=True)) for axis in (0, 1))
        label = ", ".join(f"{name} {weight:.2f}" for name, weight in zip(names, weights, strict=True))
        return dot(x, y, "after" if filled else "before", label)

    marks = [mark(*point) for point in points]
    places = ((WIDTH / 2, top - 9), (left, bottom + 18), (left + side, bottom + 18))
    corner_names = [text(a, b, name, "middle", "name") for (a, b), name in zip(places, names, strict=True)]
    share = sum(filled for _, filled in points) / len(points)
    return chart(
        "".join(marks + corner_names), title=title, described=f"{title}: {share:.0%} filled", height=bottom + 28
    )


def scatter(points: Sequence[tuple[str, float, Interval, str]], *, title: str, x_name: str, y_name: str,
            x_text: Callable[[float], str]) -> str:  # fmt: skip
    """(name, x, y with its interval, kind) as dots, and the front that no other point beats."""
    x = spanning([p[1] for p in points], LEFT, WIDTH - RIGHT)
    y = spanning([end for p in points for end in (p[2].low, p[2].high)], HEIGHT - BOTTOM, TOP)
    front = [(x(a), y(b)) for a, b in pareto([(p[1], p[2].value) for p in points])]
    marks = [
        whisker(x(a), y(v.low), y(v.high)) + dot(x(a), y(v.value), kind, f"{name}: {x_text(a)}, {percent(v.value)}", 5)
        for name, a, v, kind in points
    ]
    labels = [_label(x(a), y(v.value), name) for name, a, v, _ in points]
    body = axes(x, y, x_name=x_name, y_name=y_name, x_text=x_text, y_text=percent)
    return chart(
        body + line(front, "front") + "".join(marks + labels), title=title, described=f"{title}: {len(points)} points"
    )


def _label(x: float, y: float, name: str) -> str:
    """Beside its dot, on the side that has room."""
    fits = x + 9 + LETTER * len(name) < WIDTH
    return text(x + 9 if fits else x - 9, y - 7, name, "start" if fits else "end", "label")


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those (cost, worth) that no point of at most the same cost beats, cheapest first."""
    front: list[tuple[float, float]] = []
    for cost, worth in sorted(points, key=lambda p: (p[0], -p[1])):
        if not front or worth > front[-1][1]:
            front.append((cost, worth))
    return front
