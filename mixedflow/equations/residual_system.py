"""Sums of a model under R = sigma2 R0(psi), and what they expect of e'B_k e.

Stands at "Structures of R" in ``docs/algorithm.md`` (DESIGN 3.1). For a given psi the keyed sums are
added up, S(psi) = sum_k f_k(psi) S_k, to the sums of a model with independent residuals whose
log|R| has lost log|R0(psi)|; Henderson's equations, their solution and their likelihood are then
those of any other model. Which rows of the stacked arrays meet in a level is worked out once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mixedflow.covariance.residual_types import ResidualDesign, SumKey
from mixedflow.covariance.residual_weights import (
    ResidualPlan,
    check_pairs,
    residual_plan,
    start_psi,
)
from mixedflow.crossproducts.types import (
    ONLY_KEY,
    CrossProducts,
    FactorSums,
    KeyedSums,
    PairSums,
)
from mixedflow.design.types import Float, Int, TermDesign
from mixedflow.equations.expand import expanded_rows
from mixedflow.equations.mme import MmeSolution
from mixedflow.equations.moments import Moments
from mixedflow.equations.system import ColumnChoice, ModelSystem, PairSystem, system_and_choice
from mixedflow.errors import FitError

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True, slots=True)
class Meeting:
    """Which rows of stacked arrays belong together: T (targets, rows) of zeros and weights.

    Attributes
    ----------
    key : (M,) which key a row has
    target : (M,) which level, or pair of levels, it belongs to
    matrix : (targets, M), an entry for each row in its target; what the entries are does not matter
    """

    key: Int
    target: Int
    matrix: csr_array

    def total(self, f: Float, stack: Float) -> Float:
        """Return sum over the rows of each target of f_key times the row's array."""
        from scipy.sparse import csr_array

        weights = f[self.key[self.matrix.indices]]
        T = csr_array((weights, self.matrix.indices, self.matrix.indptr), shape=self.matrix.shape)
        flat = T @ stack.reshape(len(stack), -1)
        return np.asarray(flat).reshape(T.shape[0], *stack.shape[1:])

    def by_key(self, values: Float, n_keys: int) -> Float:
        """Return the sums of (M,) values over the rows of each key."""
        return np.bincount(self.key, values, n_keys).astype(float)


@dataclass(frozen=True, slots=True)
class StackedFactor:
    """One factor's sums of all keys, one below the other; M rows.

    Attributes
    ----------
    meeting : which rows belong to a level
    ZtBZ : (M, Q, Q), ZtBX : (M, Q, p), ZtBy : (M, Q)
    """

    meeting: Meeting
    ZtBZ: Float
    ZtBX: Float
    ZtBy: Float


@dataclass(frozen=True, slots=True)
class StackedPair:
    """Z_f'B_k Z_h of all keys, one below the other.

    Attributes
    ----------
    meeting : which rows belong to a pair of levels
    rows, cols : (m,) levels of the pairs, sorted by (row, col)
    ZtBZ : (M, Q_f, Q_h)
    """

    meeting: Meeting
    rows: Int
    cols: Int
    ZtBZ: Float


@dataclass(frozen=True, slots=True)
class ResidualSums:
    """The keyed sums of one model; K keys.

    Attributes
    ----------
    design : structure, positions and strata
    plan : weights f_k(psi) and log|R0(psi)|
    psi : where the search begins
    start : the model's sums there; other psi change its sums alone
    XtBX : (K, p, p), XtBy : (K, p), ytBy : (K,)
    factors, pairs : see :class:`StackedFactor`, :class:`StackedPair`
    sum_log_weight : sum of log w of known weights
    """

    design: ResidualDesign
    plan: ResidualPlan
    psi: Float
    start: ModelSystem
    XtBX: Float
    XtBy: Float
    ytBy: Float
    factors: tuple[StackedFactor, ...]
    pairs: Mapping[tuple[int, int], StackedPair]
    sum_log_weight: float

    @property
    def limits(self) -> tuple[Float, Float]:
        """Between which psi R0 is of use in double precision."""
        return self.plan.limits

    def system(self, psi: Float) -> ModelSystem:
        """Return the model's sums at psi.

        Raises
        ------
        FitError
            if R0 is not positive definite to working precision.
        """
        f, logdet = self.plan.values(psi)
        if not (np.all(np.isfinite(f)) and np.isfinite(logdet)):
            raise FitError("the residual covariance is not positive definite")
        return replace(self.weighted(f), sum_log_weight=self.sum_log_weight - logdet)

    def weighted(self, f: Float) -> ModelSystem:
        """Return the sums W'BW with B = sum_k f_k B_k, whatever the weights (K,)."""
        factors = tuple(
            replace(
                model,
                ZtBZ=own.meeting.total(f, own.ZtBZ),
                ZtBX=own.meeting.total(f, own.ZtBX),
                ZtBy=own.meeting.total(f, own.ZtBy),
            )
            for model, own in zip(self.start.factors, self.factors, strict=True)
        )
        return replace(
            self.start,
            XtBX=np.tensordot(f, self.XtBX, axes=1),
            XtBy=f @ self.XtBy,
            ytBy=float(f @ self.ytBy),
            factors=factors,
            pairs={key: self._pair(key, f) for key in self.pairs},
        )

    def _pair(self, key: tuple[int, int], f: Float) -> PairSystem:
        own = self.pairs[key]
        values = own.meeting.total(f, own.ZtBZ)
        levels = (self.start.factors[key[0]].n_levels, self.start.factors[key[1]].n_levels)
        return PairSystem(
            own.rows, own.cols, values, expanded_rows(own.rows, own.cols, values, levels)
        )

    def expected(self, solution: MmeSolution, found: Moments) -> Float:
        """Return s_k = E[e'B_k e] = e'B_ke + tr(C W'B_kW), (K,), given y (DESIGN 3.3)."""
        beta, loadings = solution.beta, solution.mme.loadings
        second = np.outer(beta, beta) + (solution.S_inverse if found.reml else 0.0)
        out = self.ytBy - 2.0 * self.XtBy @ beta + np.tensordot(self.XtBX, second, axes=2)
        effects = [b @ T.T for b, T in zip(solution.b, loadings, strict=True)]
        for f, own in enumerate(self.factors):
            at, T = own.meeting.target, loadings[f]
            v = effects[f]
            zz = v[:, :, None] * v[:, None, :] + T @ found.covariance[f] @ T.T
            zx = v[:, :, None] * beta + T @ found.cross_fixed[f]
            values = np.einsum("mab,mab->m", own.ZtBZ, zz[at])
            values += 2.0 * np.einsum("map,map->m", own.ZtBX, zx[at])
            values -= 2.0 * np.einsum("ma,ma->m", own.ZtBy, v[at])
            out = out + own.meeting.by_key(values, len(out))
        for (f, h), pair in self.pairs.items():
            met = effects[f][pair.rows][:, :, None] * effects[h][pair.cols][:, None, :]
            met += loadings[f] @ found.pair_covariance[f, h] @ loadings[h].T
            values = 2.0 * np.einsum("mab,mab->m", pair.ZtBZ, met[pair.meeting.target])
            out = out + pair.meeting.by_key(values, len(out))
        return np.asarray(out)


def residual_sums(
    sums: CrossProducts, terms: Sequence[TermDesign], *, trait: int = 0, psi: Float | None = None
) -> ResidualSums:
    """Return the sums of a model whose residuals have a structure.

    Parameters
    ----------
    sums : of a design with ``info.residual``
    terms : the model's random terms; none is allowed
    trait : which response
    psi : where the search begins, if not where the structure says

    Raises
    ------
    DataError
        if no two rows tell anything of a correlation.
    """
    design = sums.info.residual
    assert design is not None  # noqa: S101 - the caller looked
    keys = sorted(sums.keyed)
    parts = [sums.keyed[key] for key in keys]
    counts = [_count(design, key, part.n_obs) for key, part in zip(keys, parts, strict=True)]
    check_pairs(design, keys)
    plan = residual_plan(design, keys, counts)
    begin = start_psi(design, keys, counts) if psi is None else np.asarray(psi, dtype=float)
    f, logdet = plan.values(begin)
    log_weight = sum(part.sum_log_weight for part in _once(sums))
    whole = added(sums, keys, f, log_weight - logdet)
    start, choice = system_and_choice(whole, terms, trait=trait)
    used = sorted({term.factor for term in terms})
    return ResidualSums(
        design=design,
        plan=plan,
        psi=begin,
        start=start,
        XtBX=np.array([part.XtBX[np.ix_(choice.at, choice.at)] for part in parts]),
        XtBy=np.array([_right(part, choice) for part in parts]),
        ytBy=np.array([_squared(part, choice) for part in parts]),
        factors=tuple(
            _stacked_factor([part.factors[f] for part in parts], choice, model.n_levels)
            for f, model in zip(used, start.factors, strict=True)
        ),
        pairs={
            (i, j): _stacked_pair([part.pairs[f, h] for part in parts])
            for i, f in enumerate(used)
            for j, h in enumerate(used)
            if i < j
        },
        sum_log_weight=log_weight,
    )


def added(
    sums: CrossProducts, keys: Sequence[SumKey], f: Float, sum_log_weight: float
) -> CrossProducts:
    """Return sum_k f_k S_k as sums of one key, with all rows and a given sum of log weights."""
    parts = [sums.keyed[key] for key in keys]
    n_factors = len(sums.info.factors)
    whole = KeyedSums(
        n_obs=sums.n_obs,
        sum_log_weight=sum_log_weight,
        XtBX=_weighted([part.XtBX for part in parts], f),
        XtBy=_weighted([part.XtBy for part in parts], f),
        ytBy=_weighted([part.ytBy for part in parts], f),
        factors=tuple(
            _added_factor([part.factors[g] for part in parts], f) for g in range(n_factors)
        ),
        pairs={key: _added_pair([part.pairs[key] for part in parts], f) for key in parts[0].pairs},
    )
    return CrossProducts(sums.info, {ONLY_KEY: whole}, sums.rows_in, sums.missing)


def _once(sums: CrossProducts) -> list[KeyedSums]:
    """Return the sums of every pattern's lowest key: those that count its rows."""
    lowest: dict[int, SumKey] = {}
    for key in sorted(sums.keyed):
        lowest.setdefault(key[0], key)
    return [sums.keyed[key] for key in lowest.values()]


def _count(design: ResidualDesign, key: SumKey, n_obs: int) -> int:
    """Return groups of the pattern, or rows or gaps where these are what is counted."""
    if design.basis == "pairs":
        return n_obs // (key[0] & ((1 << design.mask_bits) - 1)).bit_count()
    if design.basis == "sizes":
        return n_obs // (key[0] & ((1 << 32) - 1))
    return n_obs


def _weighted(stack: Sequence[Float], f: Float) -> Float:
    return np.tensordot(f, np.array(stack), axes=1)


def _added_factor(parts: Sequence[FactorSums], f: Float) -> FactorSums:
    levels, target = np.unique(np.concatenate([p.levels for p in parts]), return_inverse=True)
    meeting = _meeting([len(p.levels) for p in parts], target, len(levels))
    ZZ, ZX, Zy = (
        meeting.total(f, np.concatenate([getattr(part, name) for part in parts]))
        for name in ("ZtBZ", "ZtBX", "ZtBy")
    )
    return FactorSums(levels, ZZ, ZX, Zy)


def _added_pair(parts: Sequence[PairSums], f: Float) -> PairSums:
    stacked = _stacked_pair(parts)
    return PairSums(stacked.rows, stacked.cols, stacked.meeting.total(f, stacked.ZtBZ))


def _stacked_factor(
    parts: Sequence[FactorSums], choice: ColumnChoice, n_levels: int
) -> StackedFactor:
    chosen = [choice(part) for part in parts]
    target = np.concatenate([part.levels for part in parts])
    ZZ, ZX, Zy = (np.concatenate(arrays) for arrays in zip(*chosen, strict=True))
    return StackedFactor(_meeting([len(p.levels) for p in parts], target, n_levels), ZZ, ZX, Zy)


def _stacked_pair(parts: Sequence[PairSums]) -> StackedPair:
    rows, cols = (np.concatenate([getattr(p, name) for p in parts]) for name in ("rows", "cols"))
    width = 1 + int(cols.max(initial=0))
    pairs, target = np.unique(rows * width + cols, return_inverse=True)
    meeting = _meeting([len(part.rows) for part in parts], target, len(pairs))
    values = np.concatenate([part.ZtBZ for part in parts])
    return StackedPair(meeting, pairs // width, pairs % width, values)


def _meeting(sizes: Sequence[int], target: Int, n_targets: int) -> Meeting:
    from scipy.sparse import csr_array

    key = np.repeat(np.arange(len(sizes)), sizes)
    rows = np.arange(len(target))
    matrix = csr_array((np.ones(len(target)), (target, rows)), shape=(n_targets, len(target)))
    matrix.sort_indices()
    return Meeting(key, target.astype(np.int64), matrix)


def _right(part: KeyedSums, choice: ColumnChoice) -> Float:
    right = part.XtBy[choice.at, choice.trait]
    shifted: Float = right + choice.shift * part.XtBX[choice.at, 0] if choice.shift else right
    return shifted


def _squared(part: KeyedSums, choice: ColumnChoice) -> float:
    value = part.ytBy[choice.trait, choice.trait]
    if choice.shift:
        value += 2 * choice.shift * part.XtBy[0, choice.trait]
        value += choice.shift**2 * part.XtBX[0, 0]
    return float(value)
