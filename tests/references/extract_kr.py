"""Take Kenward and Roger's figures under residual structures out of the full collection.

Called by ``extract_references.py``; writes ``kenward_roger.json``: the seven fits that SAS PROC MIXED and
mmrm 0.3.18 have in common, ``linear`` (SAS's ``ddfm=kr(linear)``, mmrm's Kenward-Roger-Linear) and ``full``
(SAS's ``ddfm=kr``), and mmrm's linear fit with covariates. ``residual_cov`` is what mmrm stopped at.
Copied as they are, but for SAS's two listings of distances in two coordinates (``spexp``), whose names are
swapped there: what is called linear has the smaller standard error, and mmrm's linear one is the other.

Left out, and why: mmrm's own full Kenward-Roger, whose second derivatives are in coordinates of its own.
"""

from __future__ import annotations

STRUCTURES = {"us": "us", "ar1": "ar1", "arh1": "ar1h", "cs": "cs", "adh": "adh", "toep": "toep"}
POINTS = "sp_exp(VISITN, VISITN2 | USUBJID)"
WITH_COVARIATES = "mmrm_us_krlin"
CHOSEN = ("est", "se", "df", "t", "p")


def kenward_roger_entries(everything: dict[str, dict]) -> list[dict]:
    """Return the entries of ``kenward_roger.json``."""
    out = []
    residuals = {name: f"{ours}(AVISIT | USUBJID)" for name, ours in STRUCTURES.items()}
    for theirs, residual in (residuals | {"spexp": POINTS}).items():
        full, linear = (everything[f"sas_{kind}_{theirs}"] for kind in ("kr", "kr1"))
        sas = {"full": _chosen(full["sas"]), "linear": _chosen(linear["sas"])}
        if theirs == "spexp":
            sas = {"full": sas["linear"], "linear": sas["full"]}
        out.append(
            {
                "id": f"sas_{theirs}",
                "data": "mmrm_fev_data",
                "formula": "FEV1 ~ ARMCD",
                "residual": residual,
                "sas": sas,
                "mmrm": {"ARMCDTRT": _chosen(linear["mmrm"])},
                "residual_cov": linear["covmat"],
            }
        )
    entry = everything[WITH_COVARIATES]
    out.append(
        {
            "id": WITH_COVARIATES,
            "data": "mmrm_fev_data",
            "formula": "FEV1 ~ RACE + SEX + ARMCD * AVISIT",
            "residual": "us(AVISIT | USUBJID)",
            "levels": {"SEX": ["Male", "Female"]},
            "mmrm": {row["name"]: _chosen(row) for row in entry["fixed"]},
            "residual_cov": entry["covmat"],
        }
    )
    return out


def _chosen(row: dict) -> dict:
    return {key: row[key] for key in CHOSEN}
