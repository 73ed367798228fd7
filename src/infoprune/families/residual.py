"""Residual branches: U = T(U') + A(U'), found where the sum happens.

An addition is residual when one operand, the *skip*, was made from what the other, the *branch*, was made
from. The branch is everything that is computed for this sum alone. Nothing here knows a class by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from infoprune.families.base import families
from infoprune.families.dataflow import SOURCE, Call, Dataflow
from infoprune.families.units import SkipUnit, StandIn, Step
from infoprune.graph.arguments import Arguments

SUMS = {"add", "add_"}
ACTIVATIONS = {
    "relu": "relu",
    "relu_": "relu",
    "silu": "silu",
    "silu_": "silu",
    "gelu": "gelu",
    "hardswish": "hardswish",
}
RECTIFIED = {"relu", "relu_", "hardtanh", "hardtanh_"}
MONOTONE = {"max_pool2d_with_indices", "_adaptive_avg_pool2d", "avg_pool2d", "clone", "alias", "detach", "_to_copy"}
ZERO_STAYS_ZERO = {
    "mul", "mul_", "div", "neg", "view", "_unsafe_view", "reshape", "permute", "transpose", "clone", "alias",
    "detach", "_to_copy", "slice", "expand", "unsqueeze", "squeeze", "roll", "contiguous", "mean", "sum",
    "constant_pad_nd",
}  # fmt: skip


@dataclass(frozen=True)
class Sum:
    """`number` = `skip` + `branch`; `own` are the nodes computed for it alone."""

    number: int
    skip: int
    branch: int
    own: frozenset[int]


@families.register("added")
def residual_units(model: nn.Module, inputs: Arguments, flow: Dataflow) -> list[SkipUnit]:
    """Every residual branch with layers of weights, in the order in which they run."""
    return Residuals(model, flow).units()


class Residuals:
    """The sums of one forward pass, and the modules around them."""

    def __init__(self, model: nn.Module, flow: Dataflow):
        self.model, self.flow = model, flow
        self.modules = dict(model.named_modules())
        self.layers = [name for name, module in self.modules.items() if _has_weights(module)]
        self.identities = {s.number: list(self._terms(s)) for s in self._identity_sums()}
        summed = {n for s in self._identity_sums() for n in self._partial_sums(s.number, s.branch)}
        self.by_owner: dict[str, list[Sum]] = {}
        for number, node in enumerate(flow.nodes):
            if node.op in SUMS and number not in summed:
                projected = self._projected(number) if number not in self.identities else None
                sums = self.identities.get(number, [projected] if projected else [])
                self.by_owner.setdefault(node.module, []).extend(sums)

    def units(self) -> list[SkipUnit]:
        units = [(s.number, unit) for owner in self.by_owner for s, unit in self._units_in(owner)]
        units.sort(key=lambda item: item[0])
        return list({unit.name: unit for _, unit in units}.values())  # of nested ones with one name, the outer

    # ------------------------------------------------------------------------------------------------- sums

    def _operands(self, number: int) -> Iterator[tuple[int, int]]:
        """(skip, branch) both ways round, where both have the sum's shape and the branch serves it alone."""
        parents, shape = self.flow.nodes[number].parents, self.flow.nodes[number].shape
        if len(parents) != 2 or parents[0] == parents[1]:
            return
        for skip, branch in (parents, parents[::-1]):
            node = self.flow.nodes[branch]
            alone = self.flow.consumers[branch] == [number] and branch not in self.flow.results
            if alone and node.op != SOURCE and node.shape == shape == self.flow.nodes[skip].shape:
                yield skip, branch

    def _identity_sums(self) -> Iterator[Sum]:
        for number, node in enumerate(self.flow.nodes):
            if node.op in SUMS:
                for skip, branch in self._operands(number):
                    if self.flow.leads(skip, branch):
                        yield Sum(number, skip, branch, frozenset(self.flow.only_for(branch)))
                        break

    def _terms(self, s: Sum) -> Iterator[Sum]:
        """A branch that is itself a sum of branches is as many branches of one skip: x + attention(x) + mlp(x)."""
        partial = list(self._partial_sums(s.number, s.branch))
        for number in [p for inner in partial for p in self.flow.nodes[inner].parents if p not in partial]:
            yield Sum(s.number, s.skip, number, frozenset(self.flow.only_for(number)))
        if not partial:
            yield s

    def _partial_sums(self, number: int, branch: int) -> Iterator[int]:
        """The sums of two branches, made for sum `number` alone by the module that makes it, of which it consists."""
        node, whole = self.flow.nodes[branch], self.flow.nodes[number]
        made_here = node.op in SUMS and node.module == whole.module and len(set(node.parents)) == 2
        if made_here and all(self._is_branch(parent, branch) for parent in node.parents):
            yield branch
            for parent in node.parents:
                yield from self._partial_sums(number, parent)

    def _is_branch(self, number: int, total: int) -> bool:
        """It serves this sum alone, is of its shape and was computed from something."""
        node, alone = self.flow.nodes[number], self.flow.consumers[number] == [total]
        return alone and node.op != SOURCE and node.shape == self.flow.nodes[total].shape

    def _projected(self, number: int) -> Sum | None:
        """A sum whose skip is made from the owner's input by fewer of its layers than the branch holds."""
        call = self._sole_call(self.flow.nodes[number].module)
        if call is None:
            return None
        for skip, branch in self._operands(number):
            steps = self._walk(call, skip)
            own = self.flow.only_for(branch)
            if steps and len(call.first) == 1 and self.flow.leads(call.first[0], branch):
                inside = {f"{call.module}.{step.name}" for step in steps if step.kind == "module"}
                layers = [x for x in self.layers if any(x == m or x.startswith(f"{m}.") for m in inside)]
                if len(layers) < len(self._exclusive(own, self.layers)):
                    return Sum(number, skip, branch, frozenset(own))
        return None

    # ------------------------------------------------------------------------------------ from end to start

    def _sole_call(self, module: str) -> Call | None:
        """The call of a module that could be replaced as a whole."""
        calls = self.flow.calls_of.get(module, [])
        return calls[0] if module and len(calls) == 1 and calls[0].single else None

    def _walk(self, call: Call, end: int | None) -> tuple[Step, ...] | None:
        """What turns the call's first argument into node `end` once every residual branch is zero."""
        steps: list[Step] = []
        while end is not None and end not in call.first:
            if end not in call.nodes:
                return None
            previous = self._step_back(call.module, end)
            if previous is None:
                return None
            step, end = previous
            steps += [step] if step else []
        return None if end is None else tuple(reversed(steps))

    def _step_back(self, owner: str, end: int) -> tuple[Step | None, int] | None:
        own = next((s for s in self.by_owner.get(owner, ()) if s.number == end), None)
        if own is not None:
            return None, own.skip
        for call in self.flow.calls:
            child = call.module.rpartition(".")
            if call.result == end and child[0] == owner and call.single and call.first[0] != end and not call.outputs:
                return Step("module", child[2]), call.first[0]
        node = self.flow.nodes[end]
        if node.op in ACTIVATIONS and node.module == owner:
            return Step("function", ACTIVATIONS[node.op]), node.parents[0]
        return None

    # ------------------------------------------------------------------------------------------------ units

    def _units_in(self, owner: str) -> Iterator[tuple[Sum, SkipUnit]]:
        sums = self.by_owner[owner]
        ends = {s: self._branch_end(s) for s in sums}
        whole = self._whole(owner) if None not in ends.values() else None
        for s in sums:
            end, layers = ends[s], self._exclusive(s.own, self.layers)
            if end is None or not layers:
                continue
            if whole is not None and len(sums) == 1:
                yield s, SkipUnit(owner, end, (whole,))
            elif s.number in self.identities:
                stand_ins = self._stubs(s, end)
                if not stand_ins:
                    continue
                siblings = tuple(ends[x] or "" for x in sums) if whole else ()
                yield s, SkipUnit(self._main(stand_ins), end, stand_ins, whole, siblings)

    def _whole(self, owner: str) -> StandIn | None:
        call = self._sole_call(owner)
        steps = self._walk(call, call.result) if call else None
        if call is None or steps is None:
            return None
        if len(steps) == 1 and self._is_rectifier(owner, steps[0]) and self._is_rectified(call.first[0]):
            steps = ()
        return StandIn(owner, "shortcut" if steps else "pass", call.outputs, steps)

    def _is_rectifier(self, owner: str, step: Step) -> bool:
        return step.name == "relu" if step.kind == "function" else type(self.modules[f"{owner}.{step.name}"]) is nn.ReLU

    def _is_rectified(self, number: int) -> bool:
        """The tensor can't hold negative numbers, whatever the input."""
        node = self.flow.nodes[number]
        while node.op in MONOTONE:
            node = self.flow.nodes[node.parents[0]]
        return node.op in RECTIFIED

    def _branch_end(self, s: Sum) -> str | None:
        """The last module whose output the branch is, up to operations that leave zeros zero."""
        end = s.branch
        while True:
            ends = [call.module for call in self.flow.calls if call.result == end and self._belongs(call, s)]
            if ends:
                return ends[-1]
            node = self.flow.nodes[end]
            following = [p for p in node.parents if self.flow.nodes[p].op != SOURCE and p in s.own]
            if node.op not in ZERO_STAYS_ZERO or not following:
                return None
            end = following[0]

    def _belongs(self, call: Call, s: Sum) -> bool:
        """All that this module ever computes is for this sum."""
        calls = self.flow.calls_of[call.module]
        return len(calls) == 1 and self._all_own(call.nodes, s.own) and call.module != self.flow.nodes[s.number].module

    def _all_own(self, numbers: range, own: frozenset[int] | set[int]) -> bool:
        nodes, consumers = self.flow.nodes, self.flow.consumers
        return all(n in own for n in numbers if nodes[n].op != SOURCE and consumers[n])

    def _exclusive(self, own: frozenset[int] | set[int], names: Sequence[str]) -> list[str]:
        """Those of the modules that were called, and compute for this sum alone."""
        calls = self.flow.calls_of
        return [n for n in names if n in calls and all(c.nodes and self._all_own(c.nodes, own) for c in calls[n])]

    def _stubs(self, s: Sum, end: str) -> tuple[StandIn, ...]:
        """Every outermost module of the branch that holds tensors hands on its input, the end gives zeros.

        None at all if the branch doesn't give back as many numbers as it gets, since zeros would then be too
        many.
        """
        holding = [n for n, m in self.modules.items() if n and m.state_dict(keep_vars=True)]
        own = self._exclusive(s.own, holding)
        outermost = [n for n in own if not any(n.startswith(f"{other}.") for other in own)]
        inside = next((n for n in outermost if end == n or end.startswith(f"{n}.")), end)
        outputs = {n: self.flow.calls_of[n][0].outputs for n in [*outermost, inside]}
        passing = [StandIn(n, "pass", outputs[n]) for n in outermost if n != inside]
        first = min((self.flow.calls_of[n][0] for n in outputs), key=lambda call: call.nodes.start).first
        if len(first) != 1 or self._size(first[0]) != self._size(s.branch):
            return ()
        return (*passing, StandIn(inside, "zero", outputs[inside]))

    def _size(self, number: int) -> int:
        return math.prod(self.flow.nodes[number].shape)

    def _main(self, stand_ins: Sequence[StandIn]) -> str:
        """The module with the most parameters names the branch."""
        return max((x.module for x in stand_ins), key=lambda n: sum(p.numel() for p in self.modules[n].parameters()))


def _has_weights(module: nn.Module) -> bool:
    """It holds a matrix or a kernel of its own."""
    return any(sum(n > 1 for n in p.shape) > 1 for p in module.parameters(recurse=False)) or isinstance(
        module, nn.modules.conv._ConvNd | nn.Linear
    )
