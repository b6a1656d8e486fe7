"""A fit as frames in broom.mixed's words: tidy, glance and augment.

Stands at "Results" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from mixedflow.errors import DataError, UnsupportedError, did_you_mean, listing
from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult

Effects = Literal["fixed", "ran_pars", "ran_vals"]

NUMBERS = ("estimate", "std.error", "statistic", "df", "p.value", "conf.low", "conf.high")
WORDS = {"se": "std.error", "p": "p.value", "lower": "conf.low", "upper": "conf.high"}
"""broom's names of the columns of ``infer().coef_table`` that have others."""


class Tidy:
    """Frames in broom.mixed's words; :class:`mixedflow.FitResult` has them."""

    def tidy(
        self,
        effects: Effects | Sequence[Effects] = ("fixed", "ran_pars"),
        *,
        ddf: str | None = None,
        level: float = 0.95,
    ) -> pd.DataFrame:
        """Return what is estimated, a row each: effect, group, (level,) term, estimate, std.error, ...

        Parameters
        ----------
        effects : "fixed"; "ran_pars", SDs ``sd__x`` and correlations ``cor__(Intercept).x`` by group,
            residuals too; "ran_vals", the random effects with their conditional SDs
        ddf : as for :meth:`infer`; by default that of ``coef_table``
        level : of conf.low and conf.high, of the fixed effects by t, of random effects by the normal
            distribution

        Returns
        -------
        DataFrame
            effect, group, term, estimate, std.error, statistic, df, p.value, conf.low, conf.high, NaN
            where there is none; ``level`` after group where there are random effects
        """
        fit = cast("FitResult", self)
        wanted = _checked_effects(effects)
        if not 0.0 < level < 1.0:
            raise DataError(f"level={level!r} is not a confidence level; it lies between 0 and 1")
        parts = {
            "fixed": lambda: _fixed(fit, ddf, level),
            "ran_pars": lambda: _parameters(fit),
            "ran_vals": lambda: _values(fit, level),
        }
        rows = [row for effect in wanted for row in parts[effect]()]
        names = ["effect", "group", *(["level"] if "ran_vals" in wanted else []), "term"]
        return pd.DataFrame(rows, columns=[*names, *NUMBERS]).astype(dict.fromkeys(NUMBERS, float))

    def glance(self) -> pd.DataFrame:
        """Return the fit in one row: nobs, sigma, logLik, AIC, BIC, REMLcrit or deviance, df.residual."""
        fit = cast("FitResult", self)
        row = {
            "nobs": fit.nobs,
            "sigma": fit.sigma,
            "logLik": fit.loglik,
            "AIC": fit.aic,
            "BIC": fit.bic,
            "REMLcrit" if fit.reml else "deviance": fit.deviance,
            "df.residual": fit.nobs - fit.df_model,
        }
        return pd.DataFrame([row])

    def augment(self, newdata: object = None, *, allow_new_levels: bool = False) -> pd.DataFrame:
        """Return rows with what the fit says of them: .fitted, .resid, .fixed.

        Parameters
        ----------
        newdata : a frame, path or glob with the model's predictors; the rows of the fit without it
        allow_new_levels : as for :meth:`predict`

        Returns
        -------
        DataFrame
            the model's columns, ``.fitted`` X beta + Z u, ``.fixed`` X beta, both with the offset;
            ``.resid`` of the rows of the fit. Of new rows those that are incomplete have NaN
        """
        fit = cast("FitResult", self)
        return _of_rows(fit) if newdata is None else _of_new(fit, newdata, new=allow_new_levels)


def _checked_effects(effects: str | Sequence[str]) -> list[str]:
    wanted = [effects] if isinstance(effects, str) else list(effects)
    offered = get_args(Effects)
    for one in wanted:
        if one not in offered:
            raise UnsupportedError(
                f"effects={one!r} are not offered; offered are {listing(offered)}"
                f"{did_you_mean(str(one), offered)}"
            )
    return wanted


def _fixed(fit: FitResult, ddf: str | None, level: float) -> list[dict[str, Any]]:
    method = ddf or fit.coef_table.attrs["ddf"]
    found = fit.infer(method, level=level).coef_table.rename(columns=WORDS)[list(NUMBERS)]
    return [
        {"effect": "fixed", "group": np.nan, "term": name, **dict(zip(NUMBERS, row, strict=True))}
        for name, *row in found.itertuples()
    ]


def _parameters(fit: FitResult) -> list[dict[str, Any]]:
    return [
        {"effect": "ran_pars", "group": row.group, "term": _term(row), "estimate": row.sdcor}
        for row in fit.varcorr.itertuples()
    ]


def _term(row: Any) -> str:
    """Return sd__x, cor__x.z, and of residuals sd__Observation; strata and positions where named."""
    if row.term2:
        return f"cor__{row.term1}.{row.term2}" if row.term1 else f"cor__{row.term2}"
    return f"sd__{row.term1 or 'Observation'}"


def _values(fit: FitResult, level: float) -> list[dict[str, Any]]:
    from scipy.special import ndtri

    z = float(ndtri(0.5 + 0.5 * level))
    rows = []
    for group, values in fit.ranef.items():
        errors = fit.ranef_se[group].to_numpy()
        for k, term in enumerate(values.columns):
            for at, (name, b) in enumerate(values.iloc[:, k].items()):
                se = float(errors[at, k])
                limits = {"conf.low": b - z * se, "conf.high": b + z * se}
                one = {"effect": "ran_vals", "group": group, "level": name, "term": term}
                rows.append({**one, "estimate": b, "std.error": se, **limits})
    return rows


def _of_rows(fit: FitResult) -> pd.DataFrame:
    from mixedflow.results.rows import read_blocks

    fitted = fit._rows().rename(columns={"fitted": ".fitted", "resid": ".resid"})
    names, fixed = [], []
    for _, table in read_blocks(fit):
        block = fit.encoder.encode(table)
        names.append(table.to_pandas()[np.asarray(block.kept)])
        fixed.append(fit._predictor(block, random=False))
    data: pd.DataFrame = pd.concat(names, ignore_index=True)
    data.index = fitted.index
    data[[".fitted", ".resid"]] = fitted[[".fitted", ".resid"]]
    data[".fixed"] = np.concatenate(fixed)
    return data


def _of_new(fit: FitResult, newdata: object, *, new: bool) -> pd.DataFrame:
    from mixedflow.data import open_source

    fitted = fit.predict(newdata, allow_new_levels=new)
    fixed = fit.predict(newdata, random=False, allow_new_levels=new)
    if isinstance(newdata, pd.DataFrame):
        data = newdata.copy()
    else:
        source, names = open_source(newdata), fit.encoder.variables(response=False)
        parts = [source.read(i, names).to_pandas() for i in range(source.n_partitions)]
        data = pd.concat(parts, ignore_index=True)
    return data.assign(**{".fitted": fitted.to_numpy(), ".fixed": fixed.to_numpy()})
