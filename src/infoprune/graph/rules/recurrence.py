"""Recurrent layers: a hidden unit is its rows of every gate, its column of the hidden weights and its output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from infoprune.graph.joining import Operand, join, spread
from infoprune.graph.labels import Ledger, Marks, tidy, varying
from infoprune.graph.rules.base import Tape, rule, tensors
from infoprune.graph.rules.contraction import axes
from infoprune.graph.rules.elementwise import unknown

aten = torch.ops.aten


@rule(aten.mkldnn_rnn_layer)
def recurrent_layer(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """One layer in one direction, over all steps: (t, b, i) to (t, b, h), gates stacked in the rows of its weights."""
    x, weights, states = args[0], args[1 : 5 if args[12] else 3], args[5:7]
    reads, hidden = weights[:2]
    gates = hidden.size(0) // hidden.size(1)
    tape.note_filters(reads, ("o", "i"), "o")
    tape.note_filters(hidden, ("o", "i"), "o")
    letters = [("t", "b", "i"), ("g", "h", "i"), ("g", "h", "k"), *[("g", "h")] * (len(weights) - 2)]
    marks = [tape.marks(x), *(_by_gate(tape, w, gates) for w in weights)]
    strands = join(tape.ledger, _operands(marks, letters), ("t", "b", "h"))
    state = next((s for s in strands if s.letters == ("h",)), None)
    _tie_state(tape, hidden, states, state)
    for result in tensors(out):
        lead = (None,) * (result.dim() - 1)
        fitting = [state] if state is not None and result.size(-1) == state.labels.numel() else []
        tape.mark(result, Marks(tuple(spread(s, (*lead, "h"), result.shape) for s in fitting)))
    steps = x.numel() // x.size(-1)
    for weight in weights[:2]:
        tape.count_product(steps, axes(tape, weight))


def _operands(marks: Sequence[Marks], letters: Sequence[tuple]) -> list[Operand]:
    return [Operand(m, x) for m, x in zip(marks, letters, strict=True)]


def _by_gate(tape: Tape, weight: Tensor, gates: int) -> Marks:
    """The marks with rows split into (gate, unit), a unit's rows tied over the gates."""
    planes = [tidy(x.unflatten(0, (gates, -1))) for x in tape.marks(weight).planes]
    return Marks(tuple(tape.ledger.collapse(x, [0] if x.stride(0) else []) for x in planes))


def _tie_state(tape: Tape, hidden: Tensor, states: Sequence[Tensor], state: Any) -> None:
    """What a step gives out is read by the next one."""
    if state is None:
        return
    columns = [x for x in tape.marks(hidden).planes if x.stride(1)]
    operands = [Operand(Marks((state.labels,)), ("h",))]
    operands += [Operand(Marks(tuple(x[0] for x in columns)), ("h",))] if columns else []
    operands += [Operand(tape.marks(s), (*(None,) * (s.dim() - 1), "h")) for s in states if isinstance(s, Tensor)]
    join(tape.ledger, operands, ("h",))


@rule(aten._pack_padded_sequence, aten._pad_packed_sequence)
def packed(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """(b, t, ...) to (rows, ...) or back: what changes along the features alone goes on."""
    result, lead = out[0], 2 if func.overloadpacket is aten._pack_padded_sequence else 1
    planes = []
    for plane in tape.marks(args[0]).planes:
        if any(axis < lead for axis in varying(plane)):
            tape.ledger.freeze(plane, "sequences are packed along it")
        else:
            row = plane[(0,) * lead]
            planes.append(row[(None,) * (result.dim() - row.dim())].expand(result.shape))
    tape.mark(result, Marks(tuple(planes)))


class Labelled(Protocol):
    """What `tie_layers` asks of the trace."""

    ledger: Ledger
    axes: dict[tuple[str, int], Tensor]


def tie_layers(model: nn.Module, tape: Labelled) -> None:
    """One recurrent module has one hidden size for all its layers and directions, and one for its projections."""
    for name, module in model.named_modules():
        if isinstance(module, nn.RNNBase):
            for kind, size in (("weight_hh", module.hidden_size), ("weight_hr", module.proj_size)):
                leaves = [leaf for leaf in module._parameters if leaf.startswith(kind)]
                rows = [labels for x in leaves if (labels := tape.axes.get((f"{name}.{x}".lstrip("."), 0))) is not None]
                for labels in rows:
                    tape.ledger.collapse(labels.view(-1, size), [0])
                    tape.ledger.tie(rows[0][:size], labels[:size])


@rule(aten.lstm, aten.gru, aten.rnn_tanh, aten.rnn_relu, aten._thnn_fused_lstm_cell, aten._thnn_fused_gru_cell,
      aten._cudnn_rnn)  # fmt: skip
def fused(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """Several layers at once, as on other devices: not followed, but counted."""
    unknown(tape, func, args, kwargs, out)
    steps = args[0].numel() // args[0].size(-1)
    for weight in (t for t in tensors([*args[1:], kwargs]) if t.dim() == 2 and tape.marks(t).planes):
        tape.count_product(steps, [(weight.size(0), None, 0), (weight.size(1), None, 0)])
