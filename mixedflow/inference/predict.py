"""Fitted and predicted values: X beta, plus the offset, plus sum_j Z_j u_j.

Stands at "Prediction" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixedflow.design.coded import fixed_part
from mixedflow.design.types import DesignBlock, Float, TermDesign


def linear_predictor(block: DesignBlock, beta: Float, kept: Sequence[int]) -> Float:
    """Return X beta + offset, (n,), with the aliased columns of X left out."""
    eta: Float
    if block.coded:
        whole = np.zeros(block.X.shape[1] + sum(len(one.places) for one in block.coded))
        whole[list(kept)] = beta
        eta = fixed_part(block, whole)
    else:
        eta = block.X[:, list(kept)] @ beta
    return eta if block.offset is None else eta + block.offset


def random_predictor(block: DesignBlock, terms: Sequence[TermDesign], u: Sequence[Float]) -> Float:
    """Return sum_j Z_j u_j, (n,); a level that the fit has not seen (code -1) adds nothing.

    Parameters
    ----------
    block : encoded rows
    terms : the random terms
    u : (L_j, q_j) a term
    """
    eta = np.zeros(block.X.shape[0])
    for term, effects in zip(terms, u, strict=True):
        codes = block.codes[term.factor]
        Z = block.Z[term.factor][:, list(term.columns)]
        contribution = np.einsum("ij,ij->i", Z, effects[codes])
        eta += np.where(codes >= 0, contribution, 0.0)
    return eta


def effects_by_term(terms: Sequence[TermDesign], u: Sequence[Float]) -> tuple[Float, ...]:
    """Return u of every term, (L_f, q_j), from u of every factor with its terms side by side."""
    factors = sorted({term.factor for term in terms})
    taken = dict.fromkeys(factors, 0)
    out = []
    for term in terms:
        start = taken[term.factor]
        taken[term.factor] = stop = start + len(term.columns)
        out.append(u[factors.index(term.factor)][:, start:stop])
    return tuple(out)
