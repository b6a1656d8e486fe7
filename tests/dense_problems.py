"""Small models set up by hand, with pilots that are far from trivial, and their dense twins.

The design room is left out on purpose: columns, codes and pilots are written down here, so that a
test of sums, equations or steps does not lean on the code that learns them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
from oracle import DenseModel, Term

from mixedflow.covariance.registry import get_structure
from mixedflow.crossproducts.condense import condense_block
from mixedflow.crossproducts.types import CrossProducts
from mixedflow.design.types import DesignBlock, DesignInfo, FactorDesign, Pilots, TermDesign
from mixedflow.equations.choice import ENGINES
from mixedflow.equations.system import ModelSystem, model_system
from mixedflow.estimation.control import FitControl
from mixedflow.estimation.fit import plan_system
from mixedflow.estimation.likelihood import Evaluation, evaluate
from mixedflow.estimation.parameters import VarianceParameters, term_structures

ONE = "(Intercept)"


@dataclass(frozen=True)
class Recipe:
    """Fixed columns; (factor, columns, structure) a random term; weights and unseen last levels."""

    fixed: tuple[str, ...]
    random: tuple[tuple[str, tuple[str, ...], str], ...]
    weights: bool = False
    unseen: int = 0


F0 = (ONE, "x", "z")
RECIPES: dict[str, Recipe] = {
    "one": Recipe(F0, (("g", (ONE,), "us"),)),
    "slope": Recipe(F0, (("g", (ONE, "x"), "us"),)),
    "slope only": Recipe(F0, (("g", ("x",), "us"),)),
    "three columns": Recipe(F0, (("g", (ONE, "x", "z"), "us"),)),
    "diagonal": Recipe(F0, (("g", (ONE, "x"), "diag"),)),
    "two terms": Recipe(F0, (("g", (ONE,), "us"), ("g", ("x",), "us"))),
    "crossed": Recipe((ONE, "x"), (("g", (ONE,), "us"), ("h", (ONE,), "us"))),
    "crossed slopes": Recipe(F0, (("g", (ONE, "x"), "us"), ("h", (ONE, "z"), "us"))),
    "crossed, both": Recipe(F0, (("h", (ONE, "x"), "diag"), ("g", (ONE, "x", "z"), "us"))),
    "nested": Recipe((ONE, "x"), (("gk", (ONE,), "us"), ("g", (ONE, "x"), "us"))),
    "three factors": Recipe(
        (ONE, "x"), (("g", (ONE,), "us"), ("h", (ONE, "x"), "us"), ("k", (ONE,), "us"))
    ),
    "no constant": Recipe(("x", "z"), (("g", (ONE, "x"), "us"),)),
    "no constant, crossed": Recipe(("x", "z"), (("g", ("x",), "us"), ("h", (ONE,), "us"))),
    "constant in span": Recipe(("ka", "kb", "kc", "kd", "x"), (("g", (ONE, "x"), "us"),)),
    "aliased": Recipe((ONE, "x", "x twice", "z", "x + z"), (("g", (ONE, "x"), "us"),)),
    "weighted": Recipe(F0, (("g", (ONE, "x"), "us"),), weights=True),
    "weighted, crossed": Recipe(F0, (("g", (ONE,), "us"), ("h", (ONE, "z"), "us")), weights=True),
    "weighted, no constant": Recipe(("x", "z"), (("g", (ONE,), "us"),), weights=True),
    "levels without rows": Recipe((ONE, "x"), (("g", (ONE, "x"), "us"),), unseen=2),
    "levels without rows, crossed": Recipe(
        (ONE, "x"), (("g", (ONE, "x"), "us"), ("h", (ONE,), "us")), unseen=2
    ),
}


@dataclass(frozen=True)
class DenseProblem:
    """Raw rows with their columns, and everything that follows from them."""

    block: DesignBlock
    info: DesignInfo
    terms: tuple[TermDesign, ...]

    @cached_property
    def sums(self) -> CrossProducts:
        return condense_block(self.block, self.info, kernel="numpy")

    @cached_property
    def system(self) -> ModelSystem:
        return model_system(self.sums, self.terms)

    @property
    def engine(self):
        return plan_system(self.system, FitControl()).make

    @cached_property
    def twin(self) -> DenseModel:
        """Return the dense model; a diagonal term is one term a column there."""
        terms = []
        for term in self.terms:
            codes, Z = self.block.codes[term.factor], self.block.Z[term.factor]
            K = np.eye(self.info.factors[term.factor].n_levels)
            groups = [[c] for c in term.columns] if term.structure == "diag" else [term.columns]
            terms += [Term(codes, Z[:, list(group)], K) for group in groups]
        X = self.block.X[:, self.system.kept]
        return DenseModel(X, self.block.y[:, 0], terms, weights=self.block.weights)

    @property
    def y_scale(self) -> float:
        return float(self.info.pilots.y_scale[0])

    def user(self, params: VarianceParameters) -> tuple[list[np.ndarray], float]:
        """Return (G a term of the twin, sigma2) in the user's units, from F F'."""
        return self.split(
            [
                self.units(term) @ get_structure(term.structure).factor(theta, len(term.columns))
                for term, theta in zip(self.terms, params.theta, strict=True)
            ],
            params.sigma2,
        )

    def units(self, term: TermDesign) -> np.ndarray:
        """Return T: an unstructured G is fitted in stored columns if the term has its constant.

        u_0 + u_1 x = v_0 + v_1 (x - s) / c for all x makes u_1 = v_1 / c, u_0 = v_0 - v_1 s / c.
        """
        T = np.eye(len(term.columns))
        shift = self.info.pilots.z_shift[term.factor][list(term.columns)]
        scale = self.info.pilots.z_scale[term.factor][list(term.columns)]
        constant = self.info.z_intercept[term.factor]
        if term.structure != "us" or (shift.any() and constant not in term.columns):
            return T
        T = np.diag(1.0 / scale)
        if constant in term.columns:
            T[term.columns.index(constant)] -= shift / scale
        return T

    def split(self, factors: Sequence[np.ndarray], sigma2: float):
        G = []
        for term, F in zip(self.terms, factors, strict=True):
            full = self.y_scale**2 * (F @ F.T)
            G += [full[[i]][:, [i]] for i in range(len(F))] if term.structure == "diag" else [full]
        return G, self.y_scale**2 * sigma2

    def packed(self, params: VarianceParameters) -> np.ndarray:
        """Return the twin's parameters: the elements of every G, then sigma2."""
        return self.twin.pack(*self.user(params))

    def params(self, seed: int) -> VarianceParameters:
        """Return variances that are arbitrary, of a size that matters, and not the optimum."""
        rng = np.random.default_rng([seed, 77])
        theta = []
        for structure, dim in zip(term_structures(self.system), self.system.dims, strict=True):
            root = 0.5 * rng.normal(size=(dim, dim))
            theta.append(structure.start(root @ root.T + 0.1 * np.eye(dim)))
        return VarianceParameters(tuple(theta), float(rng.normal(-1.0, 0.3)))

    def at(self, params: VarianceParameters, *, reml: bool, engine: str = "") -> Evaluation:
        chosen = ENGINES[engine] if engine else self.engine
        return evaluate(self.system, params, chosen, reml=reml)


@cache
def problem(name: str, seed: int = 0, n: int = 90) -> DenseProblem:
    """Return a problem by the name of its recipe: unbalanced, with cells missing."""
    recipe = RECIPES[name]
    rng = np.random.default_rng([seed, *map(ord, name)])
    columns, codes = _rows(rng, n)
    names = list(dict.fromkeys(factor for factor, _, _ in recipe.random))
    used = {f: _union(recipe, f) for f in names}
    y = 40.0 + 2.0 * columns["x"] + rng.normal(size=n)
    for f, names_of in used.items():
        for c in names_of:
            y = y + rng.normal(size=codes[f].max() + 1)[codes[f]] * columns[c]
    block = DesignBlock(
        X=np.column_stack([columns[c] for c in recipe.fixed]),
        y=y[:, None],
        Z=tuple(np.column_stack([columns[c] for c in used[f]]) for f in names),
        codes=tuple(codes[f] for f in names),
        weights=rng.uniform(0.3, 3.0, size=n) if recipe.weights else None,
        offset=None,
        rows_in=n + 3,
        kept=np.r_[np.ones(n, dtype=bool), np.zeros(3, dtype=bool)],
        missing={"x": 3},
    )
    factors = tuple(
        FactorDesign(f, (f,), used[f], int(codes[f].max()) + 1 + recipe.unseen) for f in names
    )
    info = DesignInfo(
        traits=("y",),
        x_columns=recipe.fixed,
        intercept=recipe.fixed.index(ONE) if ONE in recipe.fixed else None,
        factors=factors,
        z_intercept=tuple(used[f].index(ONE) if ONE in used[f] else None for f in names),
        pilots=_pilots(recipe.fixed, [used[f] for f in names]),
        weighted=recipe.weights,
    )
    terms = tuple(
        TermDesign(f"{f}.{j}", names.index(f), tuple(used[f].index(c) for c in cs), structure)
        for j, (f, cs, structure) in enumerate(recipe.random)
    )
    return DenseProblem(block, info, terms)


def _union(recipe: Recipe, factor: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(c for f, cs, _ in recipe.random if f == factor for c in cs))


def _rows(rng: np.random.Generator, n: int):
    """Return columns and codes: x far from zero, z not; groups of very unequal size."""
    g = np.concatenate([np.arange(9), rng.choice(9, n - 9, p=rng.dirichlet(np.full(9, 1.5)))])
    h = np.concatenate([np.arange(5), rng.integers(0, 5, n - 5)])
    h = np.where((g + h) % 4 == 0, (h + 1) % 5, h)
    k = np.concatenate([np.arange(4), rng.integers(0, 4, n - 4)])
    _, gk = np.unique(g * 4 + k, return_inverse=True)
    x, z = 5.0 + 2.0 * rng.normal(size=n), rng.uniform(-1, 2, size=n)
    columns = {ONE: np.ones(n), "x": x, "z": z, "x twice": 2.0 * x, "x + z": x + z}
    columns |= {f"k{letter}": (k == i).astype(float) for i, letter in enumerate("abcd")}
    return columns, {"g": g, "h": h, "k": k, "gk": gk}


SHIFT = {"x": 4.5, "z": 0.25, "x twice": 9.0, "x + z": 4.75}
SCALE = {"x": 2.0, "z": 0.5, "x twice": 4.0, "x + z": 2.0}


def _pilots(fixed: tuple[str, ...], random: list[tuple[str, ...]]) -> Pilots:
    def shift(columns: tuple[str, ...]) -> np.ndarray:
        there = ONE in columns
        return np.array([SHIFT.get(c, 0.0) if there else 0.0 for c in columns])

    def scale(columns: tuple[str, ...]) -> np.ndarray:
        return np.array([SCALE.get(c, 1.0) for c in columns])

    return Pilots(
        x_shift=shift(fixed),
        x_scale=scale(fixed),
        y_shift=np.array([47.0]),
        y_scale=np.array([4.0]),
        z_shift=tuple(shift(columns) for columns in random),
        z_scale=tuple(scale(columns) for columns in random),
    )


def with_variance(params: VarianceParameters, term: int, value: float) -> VarianceParameters:
    """Return the parameters with one term's theta set to a value throughout."""
    theta = list(params.theta)
    theta[term] = np.full_like(theta[term], value)
    return replace(params, theta=tuple(theta))


def arrays(sums):
    """Return every array of the sums by name, and the counts."""
    out = {}
    for key, part in sums.keyed.items():
        out |= {f"{key}/{name}": getattr(part, name) for name in ("XtBX", "XtBy", "ytBy")}
        out[f"{key}/counts"] = np.array([part.n_obs, part.sum_log_weight])
        for f, factor in enumerate(part.factors):
            for name in ("levels", "ZtBZ", "ZtBX", "ZtBy"):
                out[f"{key}/{f}/{name}"] = getattr(factor, name)
        for pair, values in part.pairs.items():
            for name in ("rows", "cols", "ZtBZ"):
                out[f"{key}/{pair}/{name}"] = getattr(values, name)
    return out
