"""Henderson's mixed model equations in scaled effects: assembly, absorption, solution.

Stands at "Henderson's equations" in ``docs/algorithm.md``. With u = F b, G = F F' and precision
f = 1/sigma2 of the residuals the system is ::

    [ X'R^-1X      X'R^-1ZF         ] [beta]   [ X'R^-1y   ]
    [ F'Z'R^-1X    F'Z'R^-1ZF + I   ] [ b  ] = [ F'Z'R^-1y ]

and -2 log-likelihood needs its log-determinants and y'Py only. No inverse of G appears.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixedflow.design.types import Float
from mixedflow.equations.engines import Engine, MakeEngine, Parts, RandomMatrix
from mixedflow.equations.system import ModelSystem
from mixedflow.errors import FitError
from mixedflow.linalg.triangular import solve_by_cholesky

COLLINEAR = "X'V^-1X is not positive definite; fixed effects are collinear"


@dataclass(frozen=True, slots=True)
class MixedModelEquations:
    """The assembled system at given variances.

    Attributes
    ----------
    system : the sums
    factors : F of every grouping factor, (q_f, q_f), its terms' factors on the diagonal
    loadings : A F, (Q_f, q_f), from scaled effects to stored columns
    precision : f = 1/sigma2
    XtRX : (p, p), XtRy : (p,), ytRy : scalar
    ZtRX : (L_f, q_f, p) a factor, ZtRy : (L_f, q_f) a factor, in scaled effects
    ZtRZ : (L_f, q_f, q_f) a factor, in scaled effects
    random : M_zz, its diagonal parts ZtRZ + I
    """

    system: ModelSystem
    factors: Parts
    loadings: Parts
    precision: float
    XtRX: Float
    XtRy: Float
    ytRy: float
    ZtRX: Parts
    ZtRy: Parts
    ZtRZ: Parts
    random: RandomMatrix


@dataclass(frozen=True, slots=True)
class MmeSolution:
    """Solution of the system, and what the likelihood needs.

    Attributes
    ----------
    mme : the system
    engine : the factorised M_zz
    beta : (p,) in stored columns
    b : (L_f, q_f) a factor, scaled effects
    absorbed : M_zz^-1 Z'R^-1 X, (L_f, q_f, p) a factor
    S_inverse : (p, p), inverse of X'V^-1X
    logdet_random : log|M_zz| = log|V| - log|R|
    logdet_fixed : log|X'V^-1X|
    ypy : y'Py
    """

    mme: MixedModelEquations
    engine: Engine
    beta: Float
    b: Parts
    absorbed: Parts
    S_inverse: Float
    logdet_random: float
    logdet_fixed: float
    ypy: float


def factor_matrices(system: ModelSystem, by_term: Sequence[Float]) -> Parts:
    """Return F of every grouping factor from the F of every term, (q_f, q_f) block-diagonal."""
    out = []
    for factor in system.factors:
        F = np.zeros((factor.dim, factor.dim))
        for term, where in zip(factor.terms, factor.slices, strict=True):
            F[where, where] = by_term[term]
        out.append(F)
    return tuple(out)


def assemble_mme(
    system: ModelSystem, by_term: Sequence[Float], sigma2: float
) -> MixedModelEquations:
    """Return M v = r for G_j = F_j F_j' and R = sigma2 B^-1.

    Parameters
    ----------
    system : the model's sums
    by_term : F of every random term, (q_j, q_j), in the user's columns and y's stored scale
    sigma2 : residual variance in y's stored scale
    """
    f = 1.0 / sigma2
    factors = factor_matrices(system, by_term)
    loadings = tuple(fs.basis @ F for fs, F in zip(system.factors, factors, strict=True))
    both = list(zip(system.factors, loadings, strict=True))
    ZtRZ = tuple((f * T.T) @ fs.ZtBZ @ T for fs, T in both)
    return MixedModelEquations(
        system=system,
        factors=factors,
        loadings=loadings,
        precision=f,
        XtRX=f * system.XtBX,
        XtRy=f * system.XtBy,
        ytRy=f * system.ytBy,
        ZtRX=tuple((f * T.T) @ fs.ZtBX for fs, T in both),
        ZtRy=tuple(f * (fs.ZtBy @ T) for fs, T in both),
        ZtRZ=ZtRZ,
        random=RandomMatrix(
            diagonal=tuple(part + np.eye(part.shape[1]) for part in ZtRZ),
            pairs={
                (g, h): (pair.rows, pair.cols, (f * loadings[g].T) @ pair.ZtBZ @ loadings[h])
                for (g, h), pair in system.pairs.items()
            },
        ),
    )


def absorb(mme: MixedModelEquations, engine: Engine) -> tuple[Parts, Float]:
    """Return M_zz^-1 [Z'R^-1X, Z'R^-1y] and [X y]'V^-1[X y], shape (p + 1, p + 1)."""
    right = tuple(
        np.concatenate([ZX, Zy[:, :, None]], axis=2)
        for ZX, Zy in zip(mme.ZtRX, mme.ZtRy, strict=True)
    )
    solved = engine.solve(right)
    p = mme.system.p
    gram = mme.precision * fixed_gram(mme.system)
    for R, H in zip(right, solved, strict=True):
        gram -= R.reshape(-1, p + 1).T @ H.reshape(-1, p + 1)
    return solved, gram


def fixed_gram(system: ModelSystem) -> Float:
    """Return [X y]'B[X y], (p + 1, p + 1)."""
    p = system.p
    gram = np.empty((p + 1, p + 1))
    gram[:p, :p], gram[:p, p], gram[p, :p] = system.XtBX, system.XtBy, system.XtBy
    gram[p, p] = system.ytBy
    return gram


@dataclass(frozen=True, slots=True)
class FixedSolution:
    """What is left once the random effects are absorbed, solved.

    Attributes
    ----------
    beta : (p,); S_inverse : (p, p), inverse of X'V^-1X
    logdet : log|X'V^-1X|; ypy : y'Py
    """

    beta: Float
    S_inverse: Float
    logdet: float
    ypy: float


def solve_fixed(gram: Float) -> FixedSolution:
    """Return beta-hat, (X'V^-1X)^-1, log|X'V^-1X| and y'Py from [X y]'V^-1[X y], (p + 1, p + 1).

    Raises
    ------
    FitError
        if X'V^-1X is not positive definite.
    """
    p = gram.shape[0] - 1
    try:
        chol = np.asarray(np.linalg.cholesky(gram[:p, :p]), dtype=np.float64)
    except np.linalg.LinAlgError as error:
        raise FitError(COLLINEAR) from error
    if not np.isfinite(np.diagonal(chol)).all():  # OpenBLAS lets NaN pass
        raise FitError(COLLINEAR)
    beta = solve_by_cholesky(chol, gram[:p, p])
    return FixedSolution(
        beta=beta,
        S_inverse=solve_by_cholesky(chol, np.eye(p)),
        logdet=float(2.0 * np.log(np.diagonal(chol)).sum()),
        ypy=float(gram[p, p] - gram[:p, p] @ beta),
    )


def solve_mme(mme: MixedModelEquations, engine_of: MakeEngine) -> MmeSolution:
    """Return the solution of M v = r: beta-hat and b-hat, log-determinants and y'Py.

    Raises
    ------
    FitError
        if X'V^-1X is not positive definite.
    """
    engine = engine_of(mme.random)
    solved, gram = absorb(mme, engine)
    p = mme.system.p
    fixed = solve_fixed(gram)
    return MmeSolution(
        mme=mme,
        engine=engine,
        beta=fixed.beta,
        b=tuple(H[:, :, p] - H[:, :, :p] @ fixed.beta for H in solved),
        absorbed=tuple(H[:, :, :p] for H in solved),
        S_inverse=fixed.S_inverse,
        logdet_random=engine.logdet,
        logdet_fixed=fixed.logdet,
        ypy=fixed.ypy,
    )


def solve_system(solution: MmeSolution, right_x: Float, right_z: Parts) -> tuple[Float, Parts]:
    """Return C [r_x; r_z], C = M^-1, for r columns at once: (p, r) and (L_f, q_f, r) a factor."""
    inner = solution.engine.solve(right_z)
    reduced = right_x - sum(
        np.einsum("lap,lar->pr", ZX, z) for ZX, z in zip(solution.mme.ZtRX, inner, strict=True)
    )
    x = solution.S_inverse @ reduced
    z = tuple(part - H @ x for part, H in zip(inner, solution.absorbed, strict=True))
    return x, z
