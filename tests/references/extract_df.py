"""Take the reference figures of degrees of freedom and tests out of the full collection.

Called by ``extract_references.py``; writes ``df.json``: by entry of ``lme4.json`` and
``residual.json`` and by method ("satterthwaite", "kenward-roger", "between-within", "residual") df and
p of every coefficient, Kenward and Roger's standard errors, and the type III table. From lmerTest,
pbkrtest, mmrm and nlme (whose rule is between-within), copied as they are; those of the unbalanced
sets are read out of R's listing.
"""

from __future__ import annotations

import re

NAMES = {"Satterthwaite": "satterthwaite", "Kenward-Roger": "kenward-roger"}
NUMBER = r"([-+.\de]+)"

NESTED = (
    "nlme_orthodont_int", "nlme_orthodont_varident", "nlme_orthodont_int_varident_ml",
    "nlme_ovary_int", "nlme_ovary_int_ar1", "nlme_ovary_int_ar1_ml", "nlme_bodyweight_corexp",
    "nlme_sleepstudy_ar1", "nlme_oats_nested",
)  # fmt: skip
"""Fits of nlme's lme whose groups are nested."""

SAME_FIT = {"mmrm_us_sat": {"between-within": "mmrm_us_bw", "residual": "mmrm_us_resid"}}
"""Entries of one fit with other degrees of freedom."""


def df_entries(
    everything: dict[str, dict], models: list[str], residual: list[str], listing: str
) -> list[dict]:
    """Return the entries of ``df.json``."""
    out = [_from_lmertest(everything[name]) for name in models]
    out += [_from_mmrm(everything, name) for name in residual if name.startswith("mmrm_")]
    out += [_from_nlme(everything[name]) for name in [*models, *residual] if name in NESTED]
    return [entry for entry in out if len(entry) > 1] + _from_listing(listing)


def _from_lmertest(entry: dict) -> dict:
    out = {"id": entry["id"]}
    for prefix, method in (("sat", "satterthwaite"), ("kr", "kenward-roger")):
        if f"{prefix}_df" not in entry["fixed"][0]:
            continue
        coef = {f["name"]: _figures(f, prefix) for f in entry["fixed"]}
        out[method] = {"coef": coef, "anova": []}
    tables = entry.get("anova3")
    for name, rows in (tables if isinstance(tables, dict) else {}).items():
        if NAMES[name] in out:
            out[NAMES[name]]["anova"] = rows
    return out


def _figures(row: dict, prefix: str) -> dict:
    kept = {"df": row[f"{prefix}_df"], "p": row[f"{prefix}_p"]}
    return kept | ({"se": row["kr_se"]} if prefix == "kr" else {})


def _from_mmrm(everything: dict[str, dict], name: str) -> dict:
    found = {"satterthwaite": name, **SAME_FIT.get(name, {})}
    return {"id": name} | {
        method: {"coef": _plain(everything[other]), "anova": []} for method, other in found.items()
    }


def _from_nlme(entry: dict) -> dict:
    return {"id": entry["id"], "between-within": {"coef": _plain(entry, "nlme_"), "anova": []}}


def _plain(entry: dict, prefix: str = "") -> dict[str, dict]:
    """Return df, and p where standard errors are those of vcov: not robust, not nlme's by ML."""
    other = entry.get("vcov_method") == "Empirical" or (prefix and entry["method"] == "ML")
    kept = ("df",) if other else ("df", "p")
    return {f["name"]: {key: f[prefix + key] for key in kept} for f in entry["fixed"]}


def _from_listing(text: str) -> list[dict]:
    """Return machines_unb and sleep_unb: two coefficient tables each, Machines' two F."""
    tables = [_coefficients(part) for part in re.split(r" +Estimate +Std. Error.*\n", text)[1:5]]
    rows = re.findall(
        rf"^Machine {NUMBER} +{NUMBER} +(\d) +{NUMBER} +{NUMBER} +{NUMBER}", text, re.M
    )
    methods = list(NAMES.values())
    out = []
    for k, name in enumerate(("machines_unb_reml", "sleep_unb_reml")):
        entry: dict = {"id": name}
        for j, method in enumerate(methods):
            anova = [_f_row(rows[j])] if name.startswith("machines") else []
            entry[method] = {"coef": tables[2 * k + j], "anova": anova}
        out.append(entry)
    for entry in out:
        for row in entry["satterthwaite"]["coef"].values():
            del row["se"]
    return out


def _coefficients(part: str) -> dict[str, dict]:
    found = re.findall(
        rf"^(\S+) +{NUMBER} +{NUMBER} +{NUMBER} +{NUMBER} +{NUMBER}$",
        part.split("\n Groups", maxsplit=1)[0].split("Type III", maxsplit=1)[0],
        re.M,
    )
    return {
        name: {"df": float(df), "p": float(p), "se": float(se)} for name, _, se, df, _, p in found
    }


def _f_row(found: tuple[str, ...]) -> dict:
    _, _, num_df, den_df, F, p = found
    return {
        "term": "Machine",
        "NumDF": int(num_df),
        "DenDF": float(den_df),
        "F": float(F),
        "p": float(p),
    }
