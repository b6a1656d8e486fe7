"""One response, many covariates one at a time: ``mixedflow.scan``.

Stands at "Scans" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, get_args

from mixedflow.api import fit
from mixedflow.data import open_source
from mixedflow.data.atomic import check_folder
from mixedflow.data.source import Source
from mixedflow.design.encode import Encoder
from mixedflow.design.spec import make_spec
from mixedflow.equations.budget import usable_cores
from mixedflow.equations.system import model_system
from mixedflow.errors import ConfigError, FitError, UnsupportedError, did_you_mean, listing
from mixedflow.estimation.control import FitControl
from mixedflow.parallel import Runner, limited_threads, own_runner
from mixedflow.parallel.mapping import OnDone, map_each
from mixedflow.results.fit_result import FitResult
from mixedflow.sums import condensed_in
from mixedflow.sweeps.covariates import Covariates, open_covariates
from mixedflow.sweeps.null_rows import LevelParts, NullRows, null_rows
from mixedflow.sweeps.outcome import factor_entries
from mixedflow.sweeps.scan import (
    COMPILE_ABOVE,
    TILE,
    Missing,
    Sigma,
    Tested,
    joined,
    products,
    tested,
    tile_of,
)
from mixedflow.sweeps.scan_again import NullSums, fit_again, null_sums
from mixedflow.sweeps.scan_result import OWN_FILES, ScanResult, scan_table

__all__ = ["ScanResult", "load_scan", "scan"]

BLOCK_BYTES = 1 << 26
"""Memory that the covariates of one block may take as they are read."""

LARGEST_BLOCK, FEW = 1 << 28, 32
"""The same where a block would otherwise have fewer covariates than a pass over the rows pays for."""

FEWEST_BLOCKS = 16
"""Blocks that a scan is cut into where it is large enough, so that threads have work."""

VARIANCES = ("null", "reestimate")


@dataclass(frozen=True)
class BlockTask:
    """What makes results of a block of covariates; picklable.

    Attributes
    ----------
    covariates, null : what is tested, and against what
    blocks : first and last covariate of every block
    missing, missing_value, sigma : see :func:`scan`
    compiled : whether sums are added by the compiled pass
    again, below : sums for exact fits, and the p up to which they are made; None for none
    """

    covariates: Covariates
    null: NullRows
    blocks: tuple[tuple[int, int], ...]
    missing: Missing
    missing_value: float | None
    sigma: Sigma
    compiled: bool
    again: NullSums | None
    below: float

    def __call__(self, index: int) -> Tested:
        """Return the results of a block."""
        first, last = self.blocks[index]
        raw = self.covariates.read(first, last, self.null.kept)
        parts = []
        for start in range(0, last - first, TILE):
            some = raw[:, start : start + TILE]
            tile = tile_of(some, self.null, self.missing, self.missing_value)
            found = products(tile, self.null, compiled=self.compiled)
            results = tested(tile, found, self.null, self.sigma)
            if self.again is not None:
                results = fit_again(tile, results, self.null, self.again, self.below)
            parts.append(results)
        return joined(parts)


def scan(  # noqa: PLR0913 - everything that a scan can be told
    formula: str,
    data: Any,
    covariates: Any,
    *,
    variances: str = "null",
    reestimate_below: float | None = None,
    sigma: str = "each",
    missing: str = "error",
    missing_value: float | None = None,
    reml: bool = True,
    weights: str | None = None,
    levels: Mapping[str, Sequence[Any]] | None = None,
    types: Mapping[str, str] | None = None,
    control: FitControl | None = None,
    runner: Runner | None = None,
    path: str | Path | None = None,
    on_done: OnDone | None = None,
) -> ScanResult:
    """Test covariates one at a time: b = c'P0y / c'P0c, var b = sigma2 / c'P0c, t with n - p - 1 df.

    P0 = V0^-1 - V0^-1X (X'V0^-1X)^-1 X'V0^-1 of the null model (Kang et al. 2010, EMMAX): variances
    relative to sigma2 are estimated once, without covariates.

    Parameters
    ----------
    formula : the null model, ``"y ~ x + (1 | family)"``
    data : rows, as for :func:`mixedflow.fit`
    covariates : ``(matrix, names)``, an ``.npy`` file or an array of rows x covariates of any number
        type, with the names of its columns or a file of them (numbered from 1 without ``names``);
        a data frame of numbers; or columns of the data: a name, a pattern like ``snp*``,
        ``re:^snp[0-9]+$``, or several of them
    variances : ``null``, or ``reestimate`` to fit each covariate's own model, with Satterthwaite's
        degrees of freedom
    reestimate_below : reestimate only covariates whose p with the null model's variances is at most this
    sigma : ``each``: sigma2 = (y'P0y - (c'P0y)^2 / c'P0c) / (n - p - 1); ``null``: the null model's,
        and the normal distribution
    missing : of a covariate: ``error`` gives a row with the reason, ``mean`` puts the mean there
    missing_value : number that stands for a missing value besides NaN, as -9 does in integers
    reml, weights, levels, types, control : of the null model, see :func:`mixedflow.fit`
    runner : where blocks of covariates are tested; threads of this process unless said otherwise (the
        bits are the same everywhere)
    path : folder to write the result to
    on_done : called with the number of blocks done and their total

    Raises
    ------
    MixedflowError
        one sentence on what is wrong, before any long work.
    """
    _checked(variances, reestimate_below, sigma, missing)
    _check_number(missing_value)
    if path is not None:
        check_folder(path, OWN_FILES)
    if condensed_in(data) is not None:
        raise UnsupportedError(
            "a scan reads the rows again for every covariate; give the data, not condensed data"
        )
    source = open_source(data, types=types, levels=levels)
    spec = make_spec(formula, weights=weights, levels=levels)
    chosen = open_covariates(covariates, source, spec.variables)
    null = fit(
        formula, data, reml=reml, weights=weights, levels=levels, types=types, control=control
    )
    with limited_threads(1):
        rows = _null_rows(null, source)
        again = _sums_again(null, rows) if variances == "reestimate" else None
        count = len(chosen.names)
        task = BlockTask(
            chosen, rows, blocked(count, chosen.bytes_each), _word(missing),
            missing_value, _word(sigma),
            rows.n * count > COMPILE_ABOVE, again,
            1.0 if reestimate_below is None else reestimate_below,
        )  # fmt: skip
        n_blocks = len(task.blocks)
        where = runner or own_runner(n_blocks, usable_cores())
        found = joined(map_each(task, n_blocks, runner=where, on_done=on_done))
    asked = {
        "formula": formula, "reml": reml, "weights": weights, "variances": variances,
        "reestimate_below": reestimate_below, "sigma": sigma, "missing": missing,
        "missing_value": None if missing_value is None else float(missing_value), "source": source.name,
    }  # fmt: skip
    result = ScanResult(scan_table(chosen.names, rows.n, found), null, asked)
    if path is not None:
        result.save(path)
    return result


def load_scan(path: str | Path) -> ScanResult:
    """Read what :meth:`ScanResult.save` wrote."""
    return ScanResult.load(path)


def _word(value: str) -> Any:
    """Return a word that was checked, as one of its literals."""
    return value


def _checked(variances: str, below: float | None, sigma: str, missing: str) -> None:
    words = (
        ("variances", variances, VARIANCES),
        ("sigma", sigma, get_args(Sigma)),
        ("missing", missing, get_args(Missing)),
    )
    for name, value, allowed in words:
        if value not in allowed:
            raise ConfigError(
                f"{name}='{value}' is not known{did_you_mean(str(value), allowed)} "
                f"(allowed: {listing(allowed)})"
            )
    if below is None:
        return
    if variances != "reestimate":
        raise ConfigError("reestimate_below needs variances='reestimate'")
    if not 0 < below <= 1:
        raise ConfigError(f"reestimate_below must be above 0 and at most 1, not {below}")


def _check_number(value: Any) -> None:
    if value is not None and not isinstance(value, Real):
        raise ConfigError(f"missing_value must be a number, not {value!r}")


def _null_rows(null: FitResult, source: Source) -> NullRows:
    rows = null_rows(null, source)
    if rows.n - rows.p < 2:
        raise FitError(
            f"{rows.n} rows are too few for {rows.p} fixed effects and a covariate; at least "
            f"{rows.p + 2} are needed"
        )
    return rows


def _sums_again(null: FitResult, rows: NullRows) -> NullSums:
    """Return what exact fits need, or say which models have none."""
    system = model_system(null.crossproducts, Encoder(null.spec, null.schema).terms)
    entries = factor_entries(system)
    if entries is None or not isinstance(rows.parts, LevelParts):
        raise UnsupportedError(
            "variances='reestimate' is for one grouping factor with random effects of structure "
            f"'us', 'diag' or 'id', not for '{null.spec.formula}'; use variances='null'"
        )
    return null_sums(rows, rows.parts, entries, reml=null.reml)


def blocked(count: int, bytes_each: int) -> tuple[tuple[int, int], ...]:
    """Return first and last of every block of covariates; it depends on the problem alone."""
    each = max(bytes_each, 1)
    room = max(1, BLOCK_BYTES // each, min(FEW, LARGEST_BLOCK // each))
    share = -(-count // FEWEST_BLOCKS)
    size = min(room, -(-share // TILE) * TILE)
    size = size // TILE * TILE if size >= TILE else size
    return tuple((first, min(first + size, count)) for first in range(0, count, size))
