"""Small unbalanced models with a residual structure, and their dense twins.

What R0 is over the rows, and what the keys of the sums stand for, is written down here a second
time, from the definitions of DESIGN 3.1; of mixedflow only the structure's matrix over positions is
used, which the contract tests hold to its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise

import numpy as np
import pandas as pd
from oracle import DenseModel, Term
from residual_figures import figures_at
from scipy import linalg

import mixedflow as mf
from mixedflow.estimation.control import FitControl
from mixedflow.estimation.parameters import term_factors
from mixedflow.estimation.problems import residual_problem

VISITS = ("v0", "v1", "v2", "v3")
STEPS = np.array([0, 1, 3, 4])
PATTERNS = ((0, 1, 2, 3), (0, 1, 3), (1, 2, 3), (0, 1), (2,))
GROUPS = 40


@cache
def frame(seed: int = 0) -> pd.DataFrame:
    """Return 40 groups with five patterns of missing visits, their rows in no order."""
    rng = np.random.default_rng([seed, 20])
    rows = [(g, v) for g in range(GROUPS) for v in PATTERNS[g % 5 if g > 8 else 0]]
    g, v = np.array(rows).T
    n = len(g)
    C = 0.6 ** np.abs(np.subtract.outer(STEPS, STEPS))
    own = rng.normal(size=(GROUPS, 4)) @ np.linalg.cholesky(C).T
    spread = np.array([1.0, 1.4, 0.8, 1.9])
    x, clinic, h = 0.3 + rng.normal(size=n), g % 8, rng.integers(0, 6, size=n)
    arm = np.where(g % 2, "b", "a")
    e = own[g, v] * spread[v] * np.where(arm == "b", 1.5, 1.0)
    y = 20.0 + 0.7 * x + 0.5 * v + e + rng.normal(size=8)[clinic] + 0.8 * rng.normal(size=6)[h]
    y += 0.8 * rng.normal(size=GROUPS)[g] * x + rng.normal(size=GROUPS)[g]
    data = pd.DataFrame({
        "y": y, "x": x, "g": [f"s{k:02d}" for k in g], "clinic": [f"c{k}" for k in clinic],
        "h": [f"h{k}" for k in h], "arm": arm, "visit": np.array(VISITS)[v], "t": STEPS[v] + 7,
        "time": STEPS[v] + rng.uniform(0, 0.4, size=n), "lab": rng.choice(["l1", "l2", "l3"], size=n),
        "w": rng.uniform(0.4, 2.5, size=n),
    })  # fmt: skip
    data = data.iloc[rng.permutation(n)].reset_index(drop=True)
    return data.assign(east=np.round(rng.uniform(0, 2, size=n), 1))


@dataclass(frozen=True)
class ResidualCase:
    """A fit and what its twin needs; ``random`` as (column of levels, columns of Z)."""

    fixed: str
    random: tuple[tuple[str, tuple[str, ...]], ...]
    residual: str
    reml: bool = True
    weighted: bool = False
    seed: int = 0

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Columns of the coordinates, where there are several."""
        inside = self.residual.split("sp_exp(")[-1].split(" |")[0]
        names = tuple(inside.split(", "))
        return names if "sp_exp(" in self.residual and len(names) > 1 else ()

    @property
    def data(self) -> pd.DataFrame:
        return frame(self.seed)

    @property
    def formula(self) -> str:
        terms = [f"({' + '.join(columns)} | {g})" for g, columns in self.random]
        return " + ".join([f"y ~ {self.fixed}", *terms])

    def fit(self, method: str = "auto"):
        return fitted(self, method)

    @cached_property
    def problem(self):
        fit = self.fit()
        return residual_problem(
            fit.crossproducts,
            fit.encoder.terms,
            reml=self.reml,
            method="auto",
            control=FitControl(),
        )

    # -- the twin ----------------------------------------------------------------------

    @property
    def weights(self) -> np.ndarray:
        return self.data["w"].to_numpy() if self.weighted else np.ones(len(self.data))

    @cached_property
    def X(self) -> np.ndarray:
        columns = {"1": np.ones(len(self.data)), "x": self.data["x"].to_numpy()}
        visit = self.data["visit"].to_numpy()
        columns |= {name: (visit == name).astype(float) for name in VISITS[1:]}
        names = ["1", "x", *VISITS[1:]] if "visit" in self.fixed else ["1", "x"]
        return np.column_stack([columns[name] for name in names])

    @cached_property
    def terms(self) -> list[Term]:
        out = []
        for name, columns in self.random:
            _, codes = np.unique(self.data[name], return_inverse=True)
            made = {"1": np.ones(len(codes)), "x": self.data["x"].to_numpy()}
            Z = [made[c] for c in columns if c in made]
            out.append(Term(codes, np.column_stack(Z)))
        return out

    def twin(self, psi: np.ndarray) -> DenseModel:
        root = 1.0 / np.sqrt(self.weights)
        R0 = self.R0(psi) * np.outer(root, root)
        return DenseModel(self.X, self.data["y"].to_numpy(), self.terms, R0=R0)

    def R0(self, psi: np.ndarray) -> np.ndarray:
        """Return R0 over the rows: rows of other groups are independent."""
        design = self.problem.residual.design
        found = [figures_at(design, psi, 1.0)[label] for label in design.strata]
        variance = np.array([one.sd**2 for one in found])
        if design.basis == "strata":
            return np.diag(variance[self.strata])
        i, j = self.pairs
        s, where = self.strata[i], self.places
        out = np.zeros((len(self.data),) * 2)
        if self.coordinates:
            rho = np.array([one.rho for one in found])[s]
            away = self.data[list(self.coordinates)].to_numpy(dtype=float)
            out[i, j] = variance[s] * rho ** np.linalg.norm(away[i] - away[j], axis=1)
            return out
        if design.basis == "pairs":
            out[i, j] = np.array([one.cov for one in found])[s, where[i], where[j]]
            return out
        rho = np.array([one.rho for one in found])[s]
        if design.basis == "sizes":
            out[i, j] = variance[s] * np.where(i == j, 1.0, rho)
        else:
            out[i, j] = variance[s] * rho ** np.abs(where[i] - where[j])
        return out

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the same group."""
        g = self.data["g"].to_numpy()
        return np.nonzero(g[:, None] == g)

    @cached_property
    def strata(self) -> np.ndarray:
        """Number of every row's stratum."""
        design = self.problem.residual.design
        if not design.stratum:
            return np.zeros(len(self.data), dtype=int)
        return np.searchsorted(design.strata, self.data[design.stratum[0]])

    @cached_property
    def places(self) -> np.ndarray:
        """Return every row's position or time."""
        design = self.problem.residual.design
        if self.coordinates:
            labels = [
                ", ".join(str(int(x)) if float(x).is_integer() else repr(float(x)) for x in row)
                for row in self.data[list(self.coordinates)].to_numpy()
            ]
            return np.searchsorted(design.positions, labels)
        if design.position is None:
            return self.data.groupby("g").cumcount().to_numpy()
        column = self.data[design.position].to_numpy()
        if design.basis != "pairs":
            return column if column.dtype.kind in "if" else np.searchsorted(VISITS, column)
        return np.searchsorted(np.unique(column), column)

    # -- at any parameters -------------------------------------------------------------

    def user(self, params) -> tuple[list[np.ndarray], float]:
        """Return G of every term and sigma2 at parameters of ours, in the user's units."""
        system = self.problem.system
        scale, F = system.fixed_scale.y_scale, term_factors(system, params)
        G: list[np.ndarray] = [np.empty(0)] * len(F)
        for factor in system.factors:
            T = scale * factor.units @ linalg.block_diag(*[F[j] for j in factor.terms])
            for j, where in zip(factor.terms, factor.slices, strict=True):
                G[j] = T[where, where] @ T[where, where].T
        return G, scale**2 * params.sigma2

    def at(self, params):
        """Return the twin at parameters of ours, and its arguments (G, sigma2)."""
        return self.twin(params.psi), *self.user(params)

    def loglik(self, params) -> float:
        """Return log L from V alone: log|V|, (X'V^-1 X) and the residual sum of squares."""
        G, sigma2 = self.user(params)
        root = 1.0 / np.sqrt(self.weights)
        V = sigma2 * self.R0(params.psi) * np.outer(root, root)
        for term, G_j in zip(self.terms, G, strict=True):
            same = term.codes[:, None] == term.codes
            V += np.where(same, term.Z @ G_j @ term.Z.T, 0.0)
        L = np.linalg.cholesky(V)
        A = linalg.solve_triangular(L, np.column_stack([self.X, self.data["y"]]), lower=True)
        R = np.linalg.qr(A, mode="r")
        p = self.X.shape[1]
        n = len(A) - p * self.reml
        total = n * np.log(2 * np.pi) + 2 * np.log(np.diag(L)).sum() + R[p, p] ** 2
        return -0.5 * (total + self.reml * 2 * np.log(np.abs(np.diag(R)[:p])).sum())

    def numeric_score(self, params, step: float = 1e-3) -> np.ndarray:
        """Return dl/d[theta, psi, phi] by five-point differences of the twin's likelihood."""
        at, out = params.vector(), []
        for i in range(len(at)):
            h = (
                step * max(1e-2, min(1.0, abs(at[i])))
                if i < len(at) - 1 - len(params.psi)
                else step
            )
            f = [
                self.loglik(params.with_vector(at + k * h * np.eye(len(at))[i]))
                for k in (-2, -1, 1, 2)
            ]
            out.append((f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h))
        return np.array(out)

    # -- what the keys stand for -------------------------------------------------------

    def B(self, key: tuple[int, int]) -> np.ndarray:
        """Return B_k over the rows."""
        design = self.problem.residual.design
        n = len(self.data)
        if design.basis == "strata":
            return np.diag((self.strata == key[0]).astype(float))
        out, where = np.zeros((n, n)), self.places
        for found in self.data.groupby("g").indices.values():
            rows = found[np.argsort(where[found], kind="stable")]
            self._add(out, rows, where, int(self.strata[rows[0]]), key)
        return out

    def _add(self, out, rows, where, stratum, key) -> None:
        basis = self.problem.residual.design.basis
        if basis == "sizes":
            if key[0] == (stratum << 32 | len(rows)):
                out[np.ix_(rows, rows)] += np.eye(len(rows)) if key[1] == 0 else 1.0
        elif basis == "pairs":
            mask = sum(1 << int(where[i]) for i in rows)
            bits = max(62, len(self.problem.residual.design.positions))
            if key[0] == (stratum << bits | mask):
                a, b = divmod(key[1], len(self.problem.residual.design.positions))
                i, j = (next(r for r in rows if where[r] == p) for p in (a, b))
                out[i, j] = out[j, i] = 1.0
        elif key[0] == stratum and key[1] == 0:
            out[rows, rows] += 1.0
        elif key[0] == stratum:
            code, cross = divmod(key[1] - 1, 2)
            for i, j in pairwise(rows):
                if _code(where[j] - where[i]) == code and cross:
                    out[i, j], out[j, i] = 1.0, 1.0
                elif _code(where[j] - where[i]) == code:
                    out[i, i] += 1.0
                    out[j, j] += 1.0


@cache
def fitted(case: ResidualCase, method: str):
    """Return the fit of a case, each made once."""
    return mf.fit(
        case.formula,
        case.data,
        residual=case.residual,
        reml=case.reml,
        weights="w" if case.weighted else None,
        method=method,
        control=FitControl(max_iter=5000),
    )


def _code(gap) -> int:
    if np.issubdtype(np.asarray(gap).dtype, np.integer):
        return int(gap)
    return int(np.float64(gap).view(np.int64))
