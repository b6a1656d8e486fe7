"""Take the reference figures with a residual structure out of the full collection.

Called by ``extract_references.py``; writes ``residual.json``. Figures are copied as they are, SAS's
and mmrm's degrees of freedom and adjusted standard errors left out (``sas_kr_*`` have no others).
What R is, is written in one way for all programs: ``residual_cov``, the covariance over positions;
``residual_sd`` by stratum; ``rho``, the correlation of neighbours (one unit of time apart), or
``range`` with rho = exp(-1 / range).

nlme's standard errors are taken from its ``vcov``: under ML its summary blows them up by
sqrt(n / (n - p)).

Left out, and why: ``mmrm_*_kr``, ``mmrm_us_krlin``, ``mmrm_us_bw``, ``mmrm_us_resid``, ``sas_kr1_*``
are the fits of other entries with other degrees of freedom; structures that are not offered
(variances as powers of a covariate, Gaussian distances) are tested to be refused.
"""

from __future__ import annotations

import re

ORTHODONT = {"levels": {"Sex": ["Male", "Female"]}}
OVARY = "follicles ~ sin(2*pi*Time) + cos(2*pi*Time)"

NLME: dict[str, dict] = {
    "nlme_orthodont_varident": {
        "formula": "distance ~ age * Sex + (age | Subject)",
        "residual": "strata(Sex)",
        **ORTHODONT,
    },
    "nlme_orthodont_int_varident_ml": {
        "formula": "distance ~ age * Sex + (1 | Subject)",
        "residual": "strata(Sex)",
        **ORTHODONT,
    },
    "gls_orthodont_cs": {
        "formula": "distance ~ age * Sex",
        "residual": "cs(1 | Subject)",
        **ORTHODONT,
    },
    "gls_orthodont_un": {
        "formula": "distance ~ age * Sex",
        "residual": "us(age | Subject)",
        **ORTHODONT,
    },
    "gls_orthodont_ar1": {
        "formula": "distance ~ age * Sex",
        "residual": "ar1(1 | Subject)",
        **ORTHODONT,
    },
    "nlme_ovary_int_ar1": {"formula": f"{OVARY} + (1 | Mare)", "residual": "ar1(1 | Mare)"},
    "nlme_ovary_int_ar1_ml": {"formula": f"{OVARY} + (1 | Mare)", "residual": "ar1(1 | Mare)"},
    "gls_ovary_ar1": {"formula": OVARY, "residual": "ar1(1 | Mare)"},
    "nlme_bodyweight_corexp": {
        "formula": "weight ~ Time * Diet + (Time | Rat)",
        "residual": "car1(Time | Rat)",
        "levels": {"Diet": ["1", "2", "3"]},
    },
    "nlme_sleepstudy_ar1": {
        "formula": "Reaction ~ Days + (Days | Subject)",
        "residual": "ar1(1 | Subject)",
    },
    "gls_dietox_cs": {"formula": "Weight ~ Time", "residual": "cs(1 | Pig)"},
}

MMRM = (
    "mmrm_us_sat", "mmrm_us_sat_ml", "mmrm_us_sat_w", "mmrm_cs_sat", "mmrm_csh_sat", "mmrm_ar1_sat",
    "mmrm_ad_sat", "mmrm_toep_sat", "mmrm_toeph_sat", "mmrm_spexp_sat",
)  # fmt: skip
SAS_KR = ("us", "ar1", "arh1", "cs", "adh", "toep")
SAS_LISTING = ("cs", "csh", "ar1", "ar1h", "adh", "toeph", "sp_exp", "sp_exp2")


def residual_entries(everything: dict[str, dict]) -> list[dict]:
    """Return the entries of ``residual.json``."""
    out = [_from_nlme(everything[name], told) for name, told in NLME.items()]
    out += [_from_mmrm(everything[name]) for name in MMRM]
    out += [_from_mmrm(everything[f"sas_kr_{name}"]) for name in SAS_KR]
    for method in ("reml", "ml"):
        out += [_from_listing(everything[f"sas_fev_{name}_{method}"]) for name in SAS_LISTING]
    return out


def _from_nlme(entry: dict, told: dict) -> dict:
    kept = ("nobs", "npar", "sigma", "logLik", "AIC", "vcov")
    out = {
        "id": entry["id"],
        "data": entry["dataset"],
        "engine": entry["engine"],
        "method": entry["method"],
        "nlme_call": entry["nlme_call"],
        **told,
        **{name: entry[name] for name in kept},
        "fixed": [
            {"name": f["name"], "est": f["est"], "se": entry["vcov"][i][i] ** 0.5}
            for i, f in enumerate(entry["fixed"])
        ],
        "varcomp": [
            {"group": v["group"], "terms": _as_list(v["terms"]), "cov": v["cov"]}
            for v in entry["varcomp"]
        ],
        "ranef": [
            {
                "group": r["factor"],
                "nlevels": r["nlevels"],
                "terms": _as_list(r["terms"]),
                "levels": r["levels"],
                "blup": r["blup"],
            }
            for r in entry["ranef"]
        ],
    }
    return out | _of_structure(entry)


def _of_structure(entry: dict) -> dict:
    """Return R from nlme's corStruct and varStruct in natural parameters."""
    correlation, variance = entry["corStruct"], entry["varStruct"]
    if correlation and correlation["class"] == "corSymm":
        ratios = variance["natural"]
        sds = [entry["sigma"] * ratios[label] for label in sorted(ratios, key=float)]
        return {"residual_cov": _symmetric(sds, correlation["natural"])}
    if variance:
        return {
            "residual_sd": {k: entry["sigma"] * ratio for k, ratio in variance["natural"].items()}
        }
    ((name, value),) = correlation["natural"].items()
    return {"range" if name == "range" else "rho": value}


def _symmetric(sds: list[float], below: list[float]) -> list[list[float]]:
    """Return the covariance from SDs and the correlations below the diagonal, column by column."""
    size, left = len(sds), iter(below)
    out = [[sds[a] ** 2 if a == b else 0.0 for b in range(size)] for a in range(size)]
    for b in range(size):
        for a in range(b + 1, size):
            out[a][b] = out[b][a] = next(left) * sds[a] * sds[b]
    return out


def _model(entry: dict) -> dict:
    """Return what mixedflow is told: the formula without its last part, which is R."""
    parts = re.fullmatch(r"(.*?)\s*\+\s*(\w+\(.*\))", entry["formula"])
    fixed = parts[1].replace("ARMCD*AVISIT", "ARMCD * AVISIT").replace("1 + ", "1")
    out = {"formula": fixed, "residual": re.sub(r"\s*\|\s*", " | ", parts[2].replace(",", ", "))}
    if "SEX" in fixed:
        out["levels"] = {"SEX": entry["factor_levels"]["SEX"]}
    if entry.get("weights"):
        out["weights"] = entry["weights"]
    return out


def _from_mmrm(entry: dict) -> dict:
    adjusted = entry["id"].startswith("sas_kr")  # Kenward-Roger's standard errors are others
    out = {
        "id": entry["id"],
        "data": entry["dataset"],
        "engine": entry["engine"],
        "method": entry["method"],
        **_model(entry),
        "nobs": 537,
        "logLik": entry["logLik"],
        "fixed": [
            {"name": f["name"], "est": f["est"]} | ({} if adjusted else {"se": f["se"]})
            for f in entry["fixed"]
        ],
    }
    if "vcov" in entry:
        out["vcov"] = entry["vcov"]
    return out | _of_covariance(entry["covmat"], out["residual"])


def _of_covariance(covariance: list[list[float]], residual: str) -> dict:
    if residual.startswith("sp_exp"):  # mmrm's 2 x 2: two points one unit of time apart
        return {
            "sigma": covariance[0][0] ** 0.5,
            "rho": covariance[0][1] / covariance[0][0],
        }
    return {"residual_cov": covariance}


def _from_listing(entry: dict) -> dict:
    """SAS's log-likelihood; estimates from mmrm, since the listing has four decimals only."""
    out = {
        "id": entry["id"],
        "data": entry["dataset"],
        "engine": entry["engine"],
        "method": entry["method"],
        **_model(entry),
        "nobs": entry["nobs"],
        "logLik": -0.5 * entry["sas_neg2ll"],
        "logLik_mmrm": -0.5 * entry["mmrm"]["m2ll"],
        "fixed": [{"name": "(Intercept)", "est": entry["mmrm"]["est"], "se": entry["mmrm"]["se"]}],
    }
    return out | _of_covariance(entry["mmrm"]["cov"], out["residual"])


def _as_list(value: object) -> list:
    return value if isinstance(value, list) else [value]
