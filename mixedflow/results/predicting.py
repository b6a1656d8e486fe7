"""Predictions for new rows, with standard errors and intervals where they are asked for.

Stands at "Prediction" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, overload

import numpy as np

from mixedflow.errors import DataError, UnsupportedError, did_you_mean, listing
from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    import pyarrow as pa

    from mixedflow.data.source import Source
    from mixedflow.design.arrow import PartitionPlace
    from mixedflow.design.types import DesignBlock, Float
    from mixedflow.inference.hypotheses import FixedTests
    from mixedflow.inference.prediction_variance import PredictionRows, ResidualRows
    from mixedflow.results.fit_result import FitResult

IntervalKind = Literal["confidence", "prediction"]

Answer = tuple["Float", "Float", "Float"]
"""Predicted values, their standard errors, degrees of freedom; (n,) each."""


class Predicting:
    """Predictions; :class:`mixedflow.FitResult` has them."""

    @overload
    def predict(
        self, newdata: object, *, random: bool = True, allow_new_levels: bool = False
    ) -> pd.Series: ...

    @overload
    def predict(
        self,
        newdata: object,
        *,
        random: bool = True,
        allow_new_levels: bool = False,
        interval: IntervalKind | None = None,
        level: float = 0.95,
        se: bool = False,
        ddf: str | None = None,
    ) -> Any: ...

    def predict(  # noqa: PLR0913 - the public way to ask
        self,
        newdata: object,
        *,
        random: bool = True,
        allow_new_levels: bool = False,
        interval: IntervalKind | None = None,
        level: float = 0.95,
        se: bool = False,
        ddf: str | None = None,
    ) -> Any:
        """Return X beta + offset (+ Z u) for new rows, NaN where a row is incomplete.

        Parameters
        ----------
        newdata : a frame, path or glob with the model's predictors
        random : add the random effects; without them it is the mean over all groups
        allow_new_levels : give a level that the fit has not seen a random effect of 0 with variance
            G; otherwise it is an error (lme4's ``allow.new.levels``)
        interval : ``"confidence"``, of the mean X beta (+ Z u); ``"prediction"``, of a new
            observation, which adds its residual, and with ``random=False`` the random effects of a
            group that has not been seen. Where there are weights or the residual variance depends on
            stratum or position, ``newdata`` has these columns
        level : of the interval
        se : return standard errors, also without an interval
        ddf : degrees of freedom: ``"satterthwaite"``, ``"residual"``, ``"asymptotic"``; for the
            confidence of X beta alone all methods of :meth:`infer`, Satterthwaite's unless another is
            named. Otherwise the normal distribution, unless another is named

        Returns
        -------
        Series or DataFrame
            the values alone, or ``estimate``, ``se``, ``df`` and, with an interval, ``lower`` and
            ``upper``. ``se`` is that of the prediction error, beta-hat's, u-hat's and with
            ``interval="prediction"`` the new observation's; the variances are taken as known.

        Raises
        ------
        UnknownLevelError
            naming level and row.
        """
        fit = cast("FitResult", self)
        asked = Asked(fit, random, allow_new_levels, interval, level, ddf)
        if random:
            self._check_random()
        frame = asked.of(newdata, errors=se or interval is not None)
        return frame["estimate"].rename("prediction") if not se and interval is None else frame

    def _check_random(self) -> None:
        """Raise where the random effects are elsewhere."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a prediction; see :meth:`Predicting.predict`."""

    fit: FitResult
    random: bool
    allow_new_levels: bool
    interval: IntervalKind | None
    level: float
    ddf: str | None

    def __post_init__(self) -> None:
        offered = get_args(IntervalKind)
        if self.interval is not None and self.interval not in offered:
            raise UnsupportedError(
                f"interval={self.interval!r} is not offered; offered are {listing(offered)} and None"
                f"{did_you_mean(str(self.interval), offered)}"
            )
        if not 0.0 < self.level < 1.0:
            raise DataError(
                f"level={self.level!r} is not a confidence level; it lies between 0 and 1"
            )

    def of(self, newdata: object, *, errors: bool) -> pd.DataFrame:
        """Return the predictions of new rows."""
        from mixedflow.data import open_source

        names = (*self.fit.encoder.variables(response=False), *(self._extra() if errors else ()))
        declared = self.fit.spec.levels
        coded = {name: "category" for name in declared if name in names}
        source = open_source(newdata, types=coded)
        answers = self._answers() if errors else None
        parts = [self._part(piece, answers) for piece in _pieces(source, names)]
        index = newdata.index if isinstance(newdata, pd.DataFrame) else None
        columns = ["estimate", "se", "df", "lower", "upper"]
        if self.interval is None:
            columns = columns[:3] if errors else columns[:1]
        return pd.DataFrame(np.concatenate(parts)[:, : len(columns)], index=index, columns=columns)

    def _extra(self) -> tuple[str, ...]:
        """Return the columns that a new observation's residual variance depends on."""
        if self.interval != "prediction":
            return ()
        from mixedflow.results.predicted_rows import residual_columns

        return residual_columns(self.fit)

    def _answers(self) -> Errors:
        if self.random or self.interval == "prediction":
            return JointErrors.of(self)
        return FixedErrors.of(self)

    def _part(self, piece: Piece, answers: Errors | None) -> Float:
        """Return estimate, se, df, lower, upper of the rows of a partition."""
        from mixedflow.inference.hypotheses import t_quantile

        new = "allow" if self.allow_new_levels or not self.random else "error"
        block = self.fit.encoder.encode(
            piece.table, response=False, new_levels=cast("Any", new), where=piece.place
        )
        eta = self.fit._predictor(block, random=self.random)
        out = np.full((block.rows_in, 5), np.nan)
        out[block.kept, 0] = eta
        if answers is not None and len(eta):
            se, df = answers(block, piece)
            half = t_quantile(0.5 + self.level / 2.0, df) * se
            out[block.kept, 1:] = np.column_stack([se, df, eta - half, eta + half])
        return out


@dataclass(frozen=True, slots=True)
class Piece:
    """A partition of new rows."""

    table: pa.Table
    place: PartitionPlace


def _pieces(source: Source, names: tuple[str, ...]) -> Iterator[Piece]:
    from mixedflow.design.arrow import PartitionPlace

    for i in range(source.n_partitions):
        table = source.read(i, tuple(dict.fromkeys(names)))
        yield Piece(table, PartitionPlace(source.name, i, source.row_offset(i)))


class Errors:
    """Gives standard errors and degrees of freedom of the complete rows of a partition."""

    def __call__(self, block: DesignBlock, piece: Piece) -> tuple[Float, Float]:
        """Return both, (n,) each."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class FixedErrors(Errors):
    """Of X beta alone, by the tests of the fixed effects."""

    fit: FitResult
    tests: FixedTests

    @classmethod
    def of(cls, asked: Asked) -> FixedErrors:
        """Return them by the method that is asked for."""
        from mixedflow.results.denominators import checked_method, fixed_tests

        method = checked_method("satterthwaite" if asked.ddf is None else asked.ddf)
        return cls(asked.fit, fixed_tests(asked.fit, method))

    def __call__(self, block: DesignBlock, piece: Piece) -> tuple[Float, Float]:  # noqa: ARG002
        """Return root x'Var(beta-hat)x and its degrees of freedom."""
        from mixedflow.inference.prediction_variance import fixed_rows, in_slices

        kept = self.fit.estimates.kept.tolist()
        X = fixed_rows(block, kept)
        found = [self.tests.rows(X(at), 0.5) for at in in_slices(len(block.X), len(kept))]
        se, df = (np.concatenate([getattr(one, name) for one in found]) for name in ("se", "df"))
        return se, df


@dataclass(frozen=True, slots=True)
class JointErrors(Errors):
    """Of X beta + Z u, or of a new observation, from the inverse of Henderson's equations."""

    asked: Asked
    evaluation: Any
    residual: Any

    @classmethod
    def of(cls, asked: Asked) -> JointErrors:
        """Return them; the equations are solved once."""
        from mixedflow.results.predicted_rows import NewResiduals

        fit = asked.fit
        offered = ("asymptotic", "residual", "satterthwaite")
        if asked.ddf is not None and asked.ddf not in offered:
            raise UnsupportedError(
                f"ddf={asked.ddf!r} is for the confidence of X beta alone, predict(newdata, "
                f"random=False, interval='confidence'); offered here are {listing(offered)}"
                f"{did_you_mean(str(asked.ddf), offered)}"
            )
        here = asked.random  # levels that the fit knows need the equations by arrays
        at = fit._evaluation() if here else fit._problem().evaluate_at(fit.estimates.params)
        return cls(asked, at, NewResiduals(fit) if asked.interval == "prediction" else None)

    def __call__(self, block: DesignBlock, piece: Piece) -> tuple[Float, Float]:
        """Return root w'C w (+ sigma2) and its degrees of freedom."""
        rows = self._rows(block, piece)
        se = np.sqrt(rows.variance(self.evaluation))
        return se, self._df(rows)

    def _rows(self, block: DesignBlock, piece: Piece) -> PredictionRows:
        from mixedflow.inference.prediction_variance import (
            PredictionRows,
            fixed_rows,
            random_columns,
        )

        fit, n = self.asked.fit, len(block.X)
        terms = fit.encoder.terms
        used = sorted({term.factor for term in terms})
        codes = tuple(block.codes[f] for f in used)
        if not self.asked.random:
            codes = tuple(np.full(n, -1, dtype=np.int64) for _ in used)
        X = fixed_rows(block, fit.estimates.kept.tolist())
        residual: ResidualRows | None = None
        if self.residual is not None:
            residual = self.residual(piece, block.kept)
        return PredictionRows(n, X, random_columns(block, terms), codes, residual)

    def _df(self, rows: PredictionRows) -> Float:
        fit, ddf = self.asked.fit, self.asked.ddf
        if ddf == "residual":
            return np.full(rows.n, float(fit.nobs - len(fit.estimates.beta)))
        if ddf is None or ddf == "asymptotic":
            return np.full(rows.n, np.inf)
        from mixedflow.inference.prediction_variance import satterthwaite_df
        from mixedflow.results.denominators import NO_CURVATURE

        if fit.monte_carlo is not None:
            raise UnsupportedError(NO_CURVATURE)
        return satterthwaite_df(fit._problem(), fit.estimates.params, rows)
