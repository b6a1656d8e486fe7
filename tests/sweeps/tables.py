"""Small tables with many traits, and single fits that a sweep must agree with."""

import numpy as np
import pandas as pd

import mixedflow as mf


def wide_table(seed: int = 1, n: int = 240, T: int = 5, missing: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g, h = rng.integers(0, 20, n), rng.integers(0, 9, n)
    x, z = rng.normal(size=n), rng.normal(size=n)
    Y = rng.normal(size=(20, T))[g] * rng.uniform(0, 1.5, T) + rng.normal(size=(n, T))
    Y += rng.normal(size=(9, T))[h] * 0.6 + np.outer(x, rng.normal(size=T)) * 0.3
    Y += (rng.normal(size=(20, T)) * 0.4)[g] * x[:, None]
    Y[rng.random(Y.shape) < missing] = np.nan
    table = pd.DataFrame(
        {
            "g": [f"g{i:02d}" for i in g],
            "h": [f"h{i}" for i in h],
            "x": x,
            "z": z,
            "f": rng.choice(["a", "b", "c"], n),
            "many": [f"m{i:02d}" for i in rng.integers(0, 30, n)],
            "sex": np.where(rng.random(n) < 0.5, "M", "F"),
            "w": rng.uniform(0.5, 2.0, n),
        }
    )
    return pd.concat([table, pd.DataFrame(Y, columns=[f"y{t}" for t in range(T)])], axis=1)


def assert_agrees(row: pd.Series, fit: mf.FitResult, ddf: str = "satterthwaite") -> None:
    """The optimum to 1e-6 in -2 log-likelihood, and everything that follows from it."""
    assert row["error"] == ""
    assert row["n"] == fit.nobs
    assert row["npar"] == fit.df_model
    assert abs(row["deviance"] - fit.deviance) < 1e-6
    np.testing.assert_allclose(row["AIC"], fit.aic, atol=1e-6)
    np.testing.assert_allclose(row["BIC"], fit.bic, atol=1e-6)
    scale = fit.sigma
    np.testing.assert_allclose(row["sigma"], scale, rtol=1e-5)
    table = fit.infer(ddf).coef_table
    for name, want in table.iterrows():
        got = row[[f"{part}:{name}" for part in ("estimate", "se", "df", "statistic", "p")]]
        estimate, se, df, statistic, p = got.to_numpy(dtype=float)
        np.testing.assert_allclose(estimate, want["estimate"], atol=1e-5 * want["se"])
        np.testing.assert_allclose(se, want["se"], rtol=1e-5)
        np.testing.assert_allclose(df, want["df"], rtol=1e-3)
        np.testing.assert_allclose(statistic, want["statistic"], atol=2e-5)
        np.testing.assert_allclose(p, want["p"], atol=1e-4)
    for part in fit.varcorr.itertuples():
        if part.group == "Residual":
            continue
        column = (
            f"cor:{part.term2}.{part.term1}|{part.group}"
            if part.term2
            else f"sd:{part.term1}|{part.group}"
        )
        if not part.term2:
            np.testing.assert_allclose(row[column], part.sdcor, rtol=1e-3, atol=1e-4 * scale)
