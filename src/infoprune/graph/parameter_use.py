"""What parameters are used for: which of their indices met anything, and which weights act as filters."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from infoprune.graph.labels import Marks, compact, first_label, varying

Direction = Literal["out", "in"]
Slots = Mapping[tuple[str, int], Tensor]  # (parameter, axis) -> its labels, in ascending order


@dataclass
class Use:
    """`met`: labels that took part in more than movement. `roots`: what a tensor made of parameters alone is a view of.

    `sources`: the parameters of its own shape that a root is computed from, element by element.
    `directions`: whether an axis of a weight tells what it gives out or what it reads. `values`: weights as they are
    used, computed anew in every pass where they have norms or masks. `groups`: of weights that convolve.
    """

    met: np.ndarray = field(default_factory=lambda: np.zeros(1, dtype=bool))
    roots: WeakIdKeyDictionary = field(default_factory=WeakIdKeyDictionary)
    directions: dict[tuple[str, int], Direction] = field(default_factory=dict)
    sources: MutableMapping[Tensor, tuple[str, ...]] = field(default_factory=WeakIdKeyDictionary)
    values: dict[str, Tensor] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)

    def note_met(self, marks: Marks) -> None:
        for plane in marks.planes:
            labels = compact(plane).flatten().numpy()
            if labels.max(initial=0) >= len(self.met):
                self.met = np.pad(self.met, (0, 2 * int(labels.max()) - len(self.met) + 1))
            self.met[labels] = True

    def only_in_part(self, labels: Tensor) -> bool:
        """Whether some of these labels, but not all, were never used."""
        known = labels.numpy()[labels.numpy() < len(self.met)]
        return not (len(known) == len(labels) and bool(self.met[known].all()))

    def note_filters(
        self, tensor: Tensor, marks: Marks, letters: Sequence[Hashable], output: Sequence[Hashable], slots: Slots
    ) -> list[str]:
        """A tensor in a contraction, whose axes that the output lacks are read; the parameters that it is made of."""
        if tensor not in self.roots:
            return []
        sources = []
        keys, starts = list(slots), [int(labels[0]) for labels in slots.values()]
        for plane in marks.planes:
            for axis in (d for d in varying(plane) if d < len(letters)):
                name, place = keys[bisect_right(starts, first_label(plane)) - 1]
                root = self.roots[tensor]
                for source in self.sources.get(root, (name,)):
                    self.directions.setdefault((source, place), "out" if letters[axis] in output else "in")
                    self.values.setdefault(source, root)
                    sources.append(source)
        return sources

    def note_computed(self, tensor: Tensor, inputs: Sequence[Tensor], names: Mapping[Tensor, str]) -> None:
        """`tensor` is made of parameters alone; masks come from buffers, and are no weights."""
        self.roots[tensor] = tensor
        roots = [self.roots[t] for t in inputs if t in self.roots and t.shape == tensor.shape]
        own = [names[r] for r in roots if isinstance(r, nn.Parameter) and r in names]
        self.sources[tensor] = tuple({n: None for r in roots for n in self.sources.get(r, ())} | dict.fromkeys(own))

    def output_axes(self) -> dict[str, int]:
        """Weights that both read and give out: the one axis of what they give out."""
        axes = {name: axis for (name, axis), direction in self.directions.items() if direction == "out"}
        count = {name: sum(n == name and d == "out" for (n, _), d in self.directions.items()) for name in axes}
        reads = {name for (name, _), direction in self.directions.items() if direction == "in"}
        return {name: axis for name, axis in axes.items() if count[name] == 1 and name in reads}
