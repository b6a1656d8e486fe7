"""Average information of the variance parameters, by the working variates q_i = dV_i P y.

Stands at "Score and average information" in ``docs/algorithm.md`` (DESIGN 3.4). For theta the variate
is Z dG_i Z'P y, for phi the residual; both reach W'R^-1q through the sums alone.
"""

from __future__ import annotations

import numpy as np

from mixedflow.design.types import Float
from mixedflow.equations.engines import Parts
from mixedflow.equations.mme import MmeSolution, solve_system
from mixedflow.estimation.evaluation import AnyMoments
from mixedflow.estimation.parameters import VarianceParameters, term_structures


def average_information(
    solution: MmeSolution, params: VarianceParameters, found: AnyMoments
) -> Float:
    """Return AI_ij = 1/2 q_i'P q_j, q_i = dV_i P y (Johnson and Thompson 1995).

    q'P q = q'R^-1q - (W'R^-1q)'C(W'R^-1q) with C the inverse of the whole of M.
    """
    variates = _variates(solution, params)
    products = _residual_products(solution, variates)
    system, mme = solution.mme.system, solution.mme
    gram = _variate_gram(solution, variates, products, found)
    phi_z = tuple(b[:, :, None] for b in solution.b)
    right_z = tuple(
        np.concatenate([T.T @ prod, last], axis=2)
        for T, prod, last in zip(mme.loadings, products, phi_z, strict=True)
    )
    r = gram.shape[0]
    right_x = np.zeros((system.p, r))
    for fs, c in zip(system.factors, variates, strict=True):
        right_x[:, :-1] += mme.precision * np.tensordot(fs.ZtBX, c, axes=([0, 1], [0, 1]))
    x, z = solve_system(solution, right_x, right_z)
    inner = right_x.T @ x
    for right, part in zip(right_z, z, strict=True):
        inner += right.reshape(-1, r).T @ part.reshape(-1, r)
    result: Float = 0.5 * (gram - 0.5 * (inner + inner.T))
    return result


def _variates(solution: MmeSolution, params: VarianceParameters) -> Parts:
    """Return A dG_i t, (L_f, Q_f, r - 1) a factor: the q_i of every theta in stored columns."""
    system = solution.mme.system
    gradients = residual_gradients(solution)
    count = sum(len(theta) for theta in params.theta)
    starts = np.cumsum([0, *(len(theta) for theta in params.theta)])
    structures = term_structures(system)
    out = []
    for f, factor in enumerate(system.factors):
        c = np.zeros((factor.n_levels, factor.basis.shape[0], count))
        t = gradients[f] @ factor.basis
        for term, where in zip(factor.terms, factor.slices, strict=True):
            theta = params.theta[term]
            slopes = structures[term].derivatives(theta, where.stop - where.start)
            own = np.einsum("lb,iab->lai", t[:, where], slopes)
            c[:, :, starts[term] : starts[term + 1]] = factor.basis[:, where] @ own
        out.append(c)
    return tuple(out)


def residual_gradients(solution: MmeSolution) -> Parts:
    """Return Z~'R^-1(y - W v), (L_f, Q_f) a factor, in stored columns."""
    mme, system = solution.mme, solution.mme.system
    effects = [b @ T.T for b, T in zip(solution.b, mme.loadings, strict=True)]
    out = [
        fs.ZtBy - fs.ZtBX @ solution.beta - np.einsum("lab,lb->la", fs.ZtBZ, u)
        for fs, u in zip(system.factors, effects, strict=True)
    ]
    for (f, h), pair in system.pairs.items():
        out[f] = out[f] - (pair.matrix @ effects[h].ravel()).reshape(out[f].shape)
        out[h] = out[h] - pair.matrix.transposed_times(effects[f].ravel()).reshape(out[h].shape)
    return tuple(mme.precision * part for part in out)


def _residual_products(solution: MmeSolution, variates: Parts) -> Parts:
    """Return Z~'R^-1 q, (L_f, Q_f, r - 1) a factor."""
    mme, system = solution.mme, solution.mme.system
    out = [fs.ZtBZ @ c for fs, c in zip(system.factors, variates, strict=True)]
    for (f, h), pair in system.pairs.items():
        out[f] = out[f] + (pair.matrix @ _by_row(variates[h])).reshape(out[f].shape)
        spread = pair.matrix.transposed_times(_by_row(variates[f]))
        out[h] = out[h] + spread.reshape(out[h].shape)
    return tuple(mme.precision * part for part in out)


def _variate_gram(
    solution: MmeSolution, variates: Parts, products: Parts, found: AnyMoments
) -> Float:
    """Return q_i'R^-1q_j, phi's variate (the residual itself) last."""
    r = (variates[0].shape[2] if variates else 0) + 1
    gram = np.zeros((r, r))
    gradients = residual_gradients(solution)
    for c, prod, t in zip(variates, products, gradients, strict=True):
        flat = _by_row(c)
        gram[:-1, :-1] += flat.T @ _by_row(prod)
        gram[:-1, -1] += flat.T @ t.ravel()
    gram[-1, :-1] = gram[:-1, -1]
    gram[-1, -1] = found.residual
    return gram


def _by_row(part: Float) -> Float:
    """Return (L, Q, r) as (L Q, r), r = 0 too."""
    return part.reshape(part.shape[0] * part.shape[1], part.shape[2])
