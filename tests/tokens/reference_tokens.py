"""Eqs. 1-7 for the tokens of one image, spelled with loops over pairs; `power` 2 squares the distances."""

import math


def distance(a, b, power):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True))) ** power


def capacity(token, kernels, power):
    width = len(token) // kernels
    parts = [token[i * width : (i + 1) * width] for i in range(kernels)]
    sims = [sum(distance(q, other, power) for other in parts) for q in parts]
    odds = [math.exp(s - max(sims)) for s in sims]
    shares = [o / sum(odds) for o in odds]
    return 1 + sum(p * math.log2(p) for p in shares if p > 0)


def independence(tokens, power):
    return [sum(distance(token, other, power) for other in tokens) for token in tokens]


def norm(values):
    low, high = min(values), max(values)
    return [(v - low) / (high - low) if high > low else 0.0 for v in values]


def importance(tokens, kernels, power, sigma=0.8):
    tokens = tokens.tolist()
    rich = norm([capacity(token, kernels, power) for token in tokens])
    rare = norm(independence(tokens, power))
    return [sigma * a + (1 - sigma) * b for a, b in zip(rich, rare, strict=True)]
