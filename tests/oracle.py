"""The slow twin: every quantity of a linear mixed model from the dense n x n matrix V.

Textbook formulas, one line each, no code shared with mixedflow. Costs O(n^3) and holds V, so it is
for a few thousand rows at most. The model is

    y = X beta + sum_j Z_j u_j + e,   u_j ~ N(0, K_j (x) G_j),   e ~ N(0, sigma2 R0),
    V = sum_j Z_j (K_j (x) G_j) Z_j' + sigma2 R0,   P = V^-1 - V^-1 X (X'V^-1 X)^-1 X'V^-1.

Everything is written with V and P, never with G^-1, so a G on the boundary needs no special case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize


@dataclass(frozen=True)
class Term:
    """u_l ~ N(0, G) for each level l: level codes (n,), columns Z (n, q), K (L, L) or None."""

    codes: np.ndarray
    Z: np.ndarray
    K: np.ndarray | None = None

    @property
    def q(self) -> int:
        return self.Z.shape[1]

    @property
    def n_levels(self) -> int:
        return len(self.K) if self.K is not None else int(self.codes.max()) + 1

    def dense(self) -> np.ndarray:
        """Return the (n, L q) matrix: row i carries its Z columns at its level's place."""
        n, q = self.Z.shape
        out = np.zeros((n, self.n_levels * q))
        for k in range(q):
            out[np.arange(n), self.codes * q + k] = self.Z[:, k]
        return out

    def relationship(self) -> np.ndarray:
        return np.eye(self.n_levels) if self.K is None else self.K

    def spread(self, G: np.ndarray) -> np.ndarray:
        """Return K (x) G, the covariance of all levels' effects."""
        return np.kron(self.relationship(), G)


def term(labels: Sequence, Z: np.ndarray | None = None, K: np.ndarray | None = None) -> Term:
    """Return a term from any labels, levels in sorted order; Z defaults to an intercept."""
    _, codes = np.unique(np.asarray(labels), return_inverse=True)
    columns = np.ones((len(codes), 1)) if Z is None else np.asarray(Z, dtype=float)
    return Term(codes.ravel(), columns.reshape(len(codes), -1), K)


@dataclass(frozen=True)
class Point:
    """The solution at given variance parameters.

    V, Vinv, P: (n, n); beta (p,); vcov (p, p); blup, cond_var, pev: one (L, q) or (L, q, q) a term.
    """

    V: np.ndarray
    Vinv: np.ndarray
    P: np.ndarray
    beta: np.ndarray
    vcov: np.ndarray
    Py: np.ndarray
    minus2ll: float
    minus2ll_ml: float


class DenseModel:
    """Data and terms of one model; the variance parameters are arguments of its methods."""

    def __init__(
        self,
        X: np.ndarray,
        y: np.ndarray,
        terms: Sequence[Term],
        *,
        weights: np.ndarray | None = None,
        R0: np.ndarray | None = None,
    ) -> None:
        self.X = np.asarray(X, dtype=float).reshape(len(y), -1)
        self.y = np.asarray(y, dtype=float)
        self.terms = tuple(terms)
        self.n, self.p = self.X.shape
        if R0 is None:
            R0 = np.diag(np.ones(self.n) if weights is None else 1.0 / np.asarray(weights))
        self.R0 = R0
        self.R0inv = linalg.inv(R0)
        self.Z = [t.dense() for t in self.terms]

    # -- the likelihood ----------------------------------------------------------------

    def V(self, G: Sequence[np.ndarray], sigma2: float) -> np.ndarray:
        """V = sum_j Z_j (K_j (x) G_j) Z_j' + sigma2 R0."""
        total = sigma2 * self.R0
        for t, Z, G_j in zip(self.terms, self.Z, G, strict=True):
            total = total + Z @ t.spread(np.atleast_2d(G_j)) @ Z.T
        return total

    def at(self, G: Sequence[np.ndarray], sigma2: float) -> Point:
        """Return V, P, the generalised least squares estimate and both likelihoods."""
        V = self.V(G, sigma2)
        factor = linalg.cho_factor(V, lower=True)
        Vinv = linalg.cho_solve(factor, np.eye(self.n))
        logdet_V = 2.0 * np.log(np.diag(factor[0])).sum()
        VinvX = Vinv @ self.X
        XtVinvX = self.X.T @ VinvX
        vcov = linalg.inv(XtVinvX)
        beta = vcov @ (VinvX.T @ self.y)
        P = Vinv - VinvX @ vcov @ VinvX.T
        residual = self.y - self.X @ beta
        quadratic = residual @ Vinv @ residual
        logdet_X = np.linalg.slogdet(XtVinvX)[1]
        ml = self.n * np.log(2 * np.pi) + logdet_V + quadratic
        reml = (self.n - self.p) * np.log(2 * np.pi) + logdet_V + logdet_X + quadratic
        return Point(V, Vinv, P, beta, vcov, Vinv @ residual, float(reml), float(ml))

    def minus2ll(self, G: Sequence[np.ndarray], sigma2: float, *, reml: bool) -> float:
        """-2 log L = (n-p) log 2pi + log|V| + log|X'V^-1 X| + y'Py (REML), as lme4 reports it."""
        point = self.at(G, sigma2)
        return point.minus2ll if reml else point.minus2ll_ml

    # -- random effects ----------------------------------------------------------------

    def blup(self, G: Sequence[np.ndarray], sigma2: float) -> list[np.ndarray]:
        """u_j = (K_j (x) G_j) Z_j' V^-1 (y - X beta), as an (L, q) array a term."""
        Py = self.at(G, sigma2).Py
        return [
            (t.spread(G_j) @ Z.T @ Py).reshape(t.n_levels, t.q)
            for t, Z, G_j in zip(self.terms, self.Z, G, strict=True)
        ]

    def _level_variances(self, G: Sequence[np.ndarray], middle: np.ndarray) -> list[np.ndarray]:
        """Return, a term, the (L, q, q) diagonal pieces of D - D Z' M Z D with D = K (x) G."""
        out = []
        for t, Z, G_j in zip(self.terms, self.Z, G, strict=True):
            D = t.spread(G_j)
            full = D - D @ Z.T @ middle @ Z @ D
            pieces = full.reshape(t.n_levels, t.q, t.n_levels, t.q)
            out.append(np.stack([pieces[i, :, i, :] for i in range(t.n_levels)]))
        return out

    def cond_var(self, G: Sequence[np.ndarray], sigma2: float) -> list[np.ndarray]:
        """Var(u | y, beta known) = D - D Z'V^-1 Z D, what lme4 calls condVar."""
        return self._level_variances(G, self.at(G, sigma2).Vinv)

    def pev(self, G: Sequence[np.ndarray], sigma2: float) -> list[np.ndarray]:
        """Var(u_hat - u) = D - D Z'P Z D, the prediction error variance."""
        return self._level_variances(G, self.at(G, sigma2).P)

    # -- derivatives in the elements of the G's (lower triangle, by column pairs) and sigma2 ------

    def parameters(self) -> list[tuple[int, int, int]]:
        """Return (term, a, b) for each element a >= b of each G; sigma2 comes after them."""
        return [
            (j, a, b) for j, t in enumerate(self.terms) for a in range(t.q) for b in range(a + 1)
        ]

    def pack(self, G: Sequence[np.ndarray], sigma2: float) -> np.ndarray:
        return np.array([G[j][a, b] for j, a, b in self.parameters()] + [sigma2])

    def unpack(self, theta: np.ndarray) -> tuple[list[np.ndarray], float]:
        G = [np.zeros((t.q, t.q)) for t in self.terms]
        for value, (j, a, b) in zip(theta, self.parameters(), strict=False):
            G[j][a, b] = G[j][b, a] = value
        return G, float(theta[-1])

    def dV(self) -> list[np.ndarray]:
        """Return dV/dtheta for each parameter of `parameters`, then sigma2."""
        out = []
        for j, a, b in self.parameters():
            E = np.zeros((self.terms[j].q, self.terms[j].q))
            E[a, b] = E[b, a] = 1.0
            out.append(self.Z[j] @ self.terms[j].spread(E) @ self.Z[j].T)
        return [*out, self.R0]

    def score(self, G: Sequence[np.ndarray], sigma2: float, *, reml: bool) -> np.ndarray:
        """dl/dtheta_i = -1/2 [tr(P V_i) - y'P V_i P y]; V^-1 in the trace for ML."""
        point = self.at(G, sigma2)
        trace_matrix = point.P if reml else point.Vinv
        return np.array(
            [-0.5 * (np.sum(trace_matrix * V_i) - point.Py @ V_i @ point.Py) for V_i in self.dV()]
        )

    def numeric_score(
        self, G: Sequence[np.ndarray], sigma2: float, *, reml: bool, step: float = 1e-4
    ) -> np.ndarray:
        """Return dl/dtheta by five-point differences with steps relative to each parameter's scale.

        A covariance has the geometric mean of its two variances as its scale.
        """
        theta = self.pack(G, sigma2)
        scale = self.scales(G, sigma2)
        out = np.zeros(len(theta))
        for i, s in enumerate(scale):
            h = step * s
            f = [
                -0.5 * self.minus2ll(*self.unpack(theta + k * h * np.eye(len(theta))[i]), reml=reml)
                for k in (-2, -1, 1, 2)
            ]
            out[i] = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h)
        return out

    def scales(self, G: Sequence[np.ndarray], sigma2: float) -> np.ndarray:
        """Return the natural scale of each parameter: a variance itself, or sqrt(g_aa g_bb)."""
        return np.array(
            [np.sqrt(G[j][a, a] * G[j][b, b]) for j, a, b in self.parameters()] + [sigma2]
        )

    def average_information(self, G: Sequence[np.ndarray], sigma2: float) -> np.ndarray:
        """AI_ij = 1/2 (V_i P y)' P (V_j P y)."""
        point = self.at(G, sigma2)
        variates = np.column_stack([V_i @ point.Py for V_i in self.dV()])
        return 0.5 * variates.T @ point.P @ variates

    def expected_information(
        self, G: Sequence[np.ndarray], sigma2: float, *, reml: bool
    ) -> np.ndarray:
        """I_ij = 1/2 tr(P V_i P V_j); V^-1 for P when ML."""
        point = self.at(G, sigma2)
        M = point.P if reml else point.Vinv
        products = [M @ V_i for V_i in self.dV()]
        return np.array([[0.5 * np.sum(A * B.T) for B in products] for A in products])

    # -- EM by its definition ----------------------------------------------------------

    def moments(
        self, G: Sequence[np.ndarray], sigma2: float, *, reml: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return E[v | y] and Var[v | y] of v = (beta, u_1, u_2, ...).

        REML integrates beta under a flat prior; ML holds it at its estimate, so its rows and
        columns of the variance are zero and Var[u | y] is the conditional one.
        """
        point = self.at(G, sigma2)
        Z = np.hstack(self.Z)
        D = linalg.block_diag(*[t.spread(g) for t, g in zip(self.terms, G, strict=True)])
        mean = np.concatenate([point.beta, D @ Z.T @ point.Py])
        var = np.zeros((self.p + Z.shape[1],) * 2)
        if reml:
            cross = -point.vcov @ self.X.T @ point.Vinv @ Z @ D
            var[: self.p, : self.p] = point.vcov
            var[: self.p, self.p :] = cross
            var[self.p :, : self.p] = cross.T
        var[self.p :, self.p :] = D - D @ Z.T @ (point.P if reml else point.Vinv) @ Z @ D
        return mean, var

    def _pieces(self, j: int) -> slice:
        start = self.p + sum(t.n_levels * t.q for t in self.terms[:j])
        return slice(start, start + self.terms[j].n_levels * self.terms[j].q)

    def second_moment(self, j: int, mean: np.ndarray, var: np.ndarray) -> np.ndarray:
        """S_j = sum_lm K^-1_lm E[u_l u_m'], a (q, q) matrix."""
        t, s = self.terms[j], self._pieces(j)
        full = np.outer(mean[s], mean[s]) + var[s, s]
        full = full.reshape(t.n_levels, t.q, t.n_levels, t.q)
        return np.einsum("lm,lamb->ab", linalg.inv(t.relationship()), full)

    def em_step(
        self, G: Sequence[np.ndarray], sigma2: float, *, reml: bool
    ) -> tuple[list[np.ndarray], float]:
        """G_j <- S_j / L_j and sigma2 <- E[e'R0^-1 e | y] / n."""
        mean, var = self.moments(G, sigma2, reml=reml)
        W = np.hstack([self.X, *self.Z])
        new = [self.second_moment(j, mean, var) / t.n_levels for j, t in enumerate(self.terms)]
        e = self.y - W @ mean
        return new, float((e @ self.R0inv @ e + np.sum((W.T @ self.R0inv @ W) * var)) / self.n)

    def px_em_step(
        self, G: Sequence[np.ndarray], sigma2: float, *, reml: bool
    ) -> tuple[list[np.ndarray], float]:
        """G_j <- Gamma_j (S_j / L_j) Gamma_j', Gamma by the expected regression of y on the u's.

        The expanded model is y = X beta + sum_j Z_j (I (x) Gamma_j) u*_j + e. For every element
        (j, a, b) of the Gammas its regressor is z_jab = sum over levels of column a of Z_j times
        effect b, which is linear in v; the M-step solves E[z z'] gamma = E[z (y - X beta)].
        """
        mean, var = self.moments(G, sigma2, reml=reml)
        second = np.outer(mean, mean) + var
        names = [
            (j, a, b) for j, t in enumerate(self.terms) for a in range(t.q) for b in range(t.q)
        ]
        X_map = np.zeros((self.n, len(mean)))
        X_map[:, : self.p] = self.X
        maps = [self._regressor(j, a, b, len(mean)) for j, a, b in names]
        F = np.array([[np.sum((A.T @ self.R0inv @ B) * second) for B in maps] for A in maps])
        h = np.array(
            [
                self.y @ self.R0inv @ A @ mean - np.sum((A.T @ self.R0inv @ X_map) * second)
                for A in maps
            ]
        )
        gamma = linalg.solve(F, h, assume_a="sym")
        new = []
        for j, t in enumerate(self.terms):
            Gamma = np.zeros((t.q, t.q))
            for value, (k, a, b) in zip(gamma, names, strict=True):
                if k == j:
                    Gamma[a, b] = value
            new.append(Gamma @ (self.second_moment(j, mean, var) / t.n_levels) @ Gamma.T)
        error_map = X_map + sum(g * A for g, A in zip(gamma, maps, strict=True))
        e = self.y - error_map @ mean
        spread = np.sum((error_map.T @ self.R0inv @ error_map) * var)
        return new, float((e @ self.R0inv @ e + spread) / self.n)

    def _regressor(self, j: int, a: int, b: int, width: int) -> np.ndarray:
        """Return the (n, width) matrix A with A v = sum_levels Z_j[:, a] u_j[level, b]."""
        t, start = self.terms[j], self._pieces(j).start
        A = np.zeros((self.n, width))
        A[np.arange(self.n), start + t.codes * t.q + b] = t.Z[:, a]
        return A

    # -- the optimum, by brute force ---------------------------------------------------

    def start(self) -> tuple[list[np.ndarray], float]:
        """Return plain starting values: the residual variance shared out."""
        beta = np.linalg.lstsq(self.X, self.y, rcond=None)[0]
        s2 = float(np.mean((self.y - self.X @ beta) ** 2))
        G = [
            np.diag(s2 / (2 * len(self.terms) * t.q * np.maximum(np.mean(t.Z**2, axis=0), 1e-12)))
            for t in self.terms
        ]
        return G, s2 / 2

    def maximise(
        self,
        *,
        reml: bool,
        start: tuple[Sequence[np.ndarray], float] | None = None,
        diagonal: Callable[[int], bool] = lambda _j: False,
    ) -> tuple[list[np.ndarray], float]:
        """Return (G, sigma2) at the maximum: quasi-Newton on Cholesky factors, then scoring.

        `diagonal(j)` says whether G_j is held diagonal. For an optimum inside the parameter space.
        """
        G, s2 = self.start() if start is None else start
        free = [a == b or not diagonal(j) for j, a, b in self.parameters()] + [True]
        free_at = np.flatnonzero(free)
        L = [np.linalg.cholesky(g / s2) for g in G]
        x0 = np.append([L[j][a, b] for j, a, b in self.parameters()], np.log(s2))[free_at]

        def expand(x: np.ndarray) -> tuple[list[np.ndarray], float]:
            full = np.zeros(len(free))
            full[free_at] = x
            factors, _ = self.unpack(full)
            factors = [np.tril(f) for f in factors]
            sigma2 = float(np.exp(full[-1]))
            return [sigma2 * f @ f.T for f in factors], sigma2

        found = optimize.minimize(
            lambda x: self.minus2ll(*expand(x), reml=reml),
            x0,
            method="BFGS",
            options={"gtol": 1e-4},
        )
        theta = self.pack(*expand(found.x))
        for _ in range(50):
            G, s2 = self.unpack(theta)
            information = self.expected_information(G, s2, reml=reml)[np.ix_(free_at, free_at)]
            move = np.linalg.solve(information, self.score(G, s2, reml=reml)[free_at])
            theta[free_at] += move
            if np.max(np.abs(move) / self.scales(G, s2)[free_at]) < 1e-12:
                break
        return self.unpack(theta)
