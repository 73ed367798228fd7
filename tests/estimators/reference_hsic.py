"""HSIC spelled like the papers, one sum at a time."""

# ruff: noqa: E741
import itertools
import math

import torch


def hsic_eq_6(k, l):
    """(n-1)^-2 tr(K H L H)."""
    n = len(k)
    h = torch.eye(n, dtype=k.dtype) - torch.ones(n, n, dtype=k.dtype) / n
    return torch.trace(k @ h @ l @ h) / (n - 1) ** 2


def nhsic_eq_8(x, y):
    """tr(K_X K_Y) / sqrt(tr(K_X K_X)) / sqrt(tr(K_Y K_Y)) with centralised examples."""
    x, y = x - x.mean(0), y - y.mean(0)
    k, l = x @ x.T, y @ y.T
    return torch.trace(k @ l) / torch.trace(k @ k).sqrt() / torch.trace(l @ l).sqrt()


def nhsic_eq_12(x, y):
    """|Y'X|_F^2 / (|X'X|_F |Y'Y|_F), as printed: the examples are not centralised."""
    return (y.T @ x).norm() ** 2 / (x.T @ x).norm() / (y.T @ y).norm()


def hsic_u_statistic(k, l):
    """The mean over all ordered quadruples of different samples of k_ij l_ij + k_ij l_qr - 2 k_ij l_iq."""
    n = len(k)
    quadruples = itertools.permutations(range(n), 4)
    total = sum(k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q]) for i, j, q, r in quadruples)
    return total / (n * (n - 1) * (n - 2) * (n - 3))


def gaussian_gram(x, bandwidth):
    return torch.stack([torch.exp(-((row - x) ** 2).sum(1) / (2 * bandwidth**2)) for row in x])


def pairwise_nhsic(grams):
    """As in common CKA code: every pair from the beginning."""
    return torch.tensor([[hsic_eq_6(k, l) / (hsic_eq_6(k, k) * hsic_eq_6(l, l)).sqrt() for l in grams] for k in grams])


def gaussian_kernel_hsic_of_normals(rho, width_x, width_y):
    """The population's HSIC (eq. 5) of standard normals with correlation `rho` under Gaussian kernels."""

    def expectation(covariance):
        """E exp(-u^2 / 2 w_x^2 - v^2 / 2 w_y^2) for (u, v) ~ N(0, covariance)."""
        a, b, c = covariance
        s, t = 1 / width_x**2, 1 / width_y**2
        return 1 / math.sqrt((1 + a * s) * (1 + b * t) - c * c * s * t)

    joint = expectation((2, 2, 2 * rho))
    apart = expectation((2, 2, 0))
    shared_once = expectation((2, 2, rho))
    return joint + apart - 2 * shared_once
