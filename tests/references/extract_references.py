"""Take the reference figures that the tests use out of the full collection.

    python extract_references.py FOLDER

FOLDER holds ``oracle.json`` and ``lme4_quick.json`` (figures made with R, see
``make_references.R``), ``unbalanced_lme4.txt`` and ``data/*.csv``. Written here: ``lme4.json``,
``residual.json`` (see ``extract_residual.py``), ``df.json`` (see ``extract_df.py``),
``kenward_roger.json`` (see ``extract_kr.py``), and in
``data/`` the data sets that they, ``made_here.json`` and ``made_residual.json`` need, those over
300 kB compressed.
Figures are copied as they are; added to each entry is what mixedflow has to be told to fit the same
model (its formula, the order of factor levels, columns to compute first), from the table MODELS
below. Running the program again gives the same bytes.

Left out, and why: entries with a pedigree; they belong to later parts of the package.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import sys
from pathlib import Path

from extract_df import df_entries
from extract_kr import kenward_roger_entries
from extract_residual import residual_entries

HERE = Path(__file__).parent
COMPRESS_ABOVE = 300_000

# id in oracle.json -> what mixedflow is told; "formula" only where the R text does not serve.
MODELS: dict[str, dict] = {
    "dyestuff_reml": {},
    "dyestuff_ml": {},
    "dyestuff2_reml": {},
    "dyestuff2_ml": {},
    "rail_reml": {},
    "rail_ml": {},
    "penicillin_reml": {},
    "penicillin_ml": {},
    "pastes_nested_reml": {},
    "pastes_ml": {},
    "sleepstudy_reml": {},
    "sleepstudy_ml": {},
    "sleepstudy_dbar_reml": {},
    "sleepstudy_int_reml": {},
    "sleepstudy_slopeonly_reml": {},
    "sleepstudy_weights_reml": {"weights": "w", "compute": {"w": "1 / (1 + Days / 5)"}},
    "sleepstudy_missing_reml": {
        "blank": {"Reaction": [3, 17, 18, 40, 41, 42, 77, *range(100, 108), 180]}
    },
    "sleepstudy_quad_reml": {"formula": "Reaction ~ Days + I(Days**2) + (Days | Subject)"},
    "oats_splitplot_reml": {"formula": "`yield` ~ nitro + Variety + (1 | Block/Variety)"},
    "machines_nested_reml": {},
    "machines_un0_reml": {},
    "orthodont_slope_reml": {"levels": {"Sex": ["Male", "Female"]}},
    "orthodont_int_reml": {"levels": {"Sex": ["Male", "Female"]}},
    "orthodont_int_ml": {"levels": {"Sex": ["Male", "Female"]}},
    "oxboys_reml": {"formula": "height ~ age + I(age**2) + (age | Subject)"},
    "ergostool_reml": {},
    "pixel_reml": {"formula": "pixel ~ day + I(day**2) + (day | Dog) + (1 | Dog:Side)"},
    "bodyweight_reml": {"levels": {"Diet": ["1", "2", "3"]}},
    "dietox_int_reml": {},
    "dietox_slope_reml": {},
    "exam_slope_reml": {},
    "chem97_reml": {},
    "nlme_orthodont_int": {"levels": {"Sex": ["Male", "Female"]}},
    "nlme_ovary_int": {},
    "nlme_oats_nested": {
        "formula": "`yield` ~ nitro + (1 | Block/Variety)",
        "rename": {"Variety": "Variety:Block"},
    },
    "nlme_assay_pdblocked": {"levels": {"dilut": ["1", "2", "3", "4", "5"]}},
    "bt_tarsus_dam_reml": {},
    "insteval_deptservice_reml": {},
}

# name in lme4_quick.json (default optimiser, not polished) -> file; only what oracle.json lacks.
QUICK: dict[str, dict] = {
    "sleepstudy_nocorr_ML": {"data": "sleepstudy"},
    "sleepstudy_ri_ML": {"data": "sleepstudy"},
    "Orthodont_age_REML": {"data": "Orthodont"},
    "Orthodont_age_ML": {"data": "Orthodont"},
    "Machines_nested_ML": {"data": "Machines"},
    "Machines_slope_ML": {"data": "Machines"},
    "ergoStool_ML": {"data": "ergoStool"},
}

KEPT = ("nobs", "ngrps", "npar", "sigma", "logLik", "AIC", "singular", "max_abs_grad", "polished")


def spaced(formula: str) -> str:
    """Write ``(1|g)`` as ``(1 | g)``."""
    return re.sub(r"\s*(\|\|?)\s*", r" \1 ", formula)


def as_list(value: object) -> list:
    return value if isinstance(value, list) else [value]


def fixed(entry: dict) -> list[dict]:
    return [{"name": f["name"], "est": f["est"], "se": f["se"]} for f in entry["fixed"]]


def varcomp(entry: dict, rename: dict) -> list[dict]:
    return [
        {
            "group": rename.get(v["group"], v["group"]),
            "terms": as_list(v["terms"]),
            "cov": v["cov"],
        }
        for v in entry["varcomp"]
    ]


def ranef(entry: dict, rename: dict) -> list[dict]:
    """BLUPs and, where present, conditional variances (a number, a vector or a matrix a level)."""
    out = []
    for block in entry.get("ranef", []):
        levels = list(block["levels"])
        if block["factor"] in rename:  # nlme says outer/inner, lme4 inner:outer
            levels = [":".join(reversed(level.split("/"))) for level in levels]
        terms = as_list(block.get("terms") or "(Intercept)")
        taken = {
            "group": rename.get(block["factor"], block["factor"]),
            "nlevels": block["nlevels"],
            "terms": terms,
            "levels": levels,
            "blup": block["blup"],
        }
        separate = entry.get("ranef_condvar_list", {}).get(block["factor"])
        if separate:  # terms with || : lme4 gives one list of variances a term
            taken["condvar"] = [
                list(row) for row in zip(*(separate[t] for t in terms), strict=True)
            ]
        elif "condvar" in block:
            taken["condvar"] = block["condvar"]
        out.append(taken)
    return out


def split_pdblocked(entry: dict) -> dict:
    """Rewrite nlme's pdBlocked Assay fit as the three crossed terms that its formula names.

    lme with list(Block = pdBlocked(1, sample - 1, dilut - 1)) is (1|Block) + (1|Block:sample) +
    (1|Block:dilut): effect "samplea" of Block 1 is effect "1:a" of the factor Block:sample.
    """
    (vc,) = entry["varcomp"]
    (blup,) = entry["ranef"]
    groups = {"Block": "(Intercept)", "Block:sample": "sample", "Block:dilut": "dilut"}
    entry = {**entry, "varcomp": [], "ranef": []}
    for group, stem in groups.items():
        at = [i for i, name in enumerate(vc["terms"]) if name.startswith(stem)]
        entry["varcomp"].append(
            {"group": group, "terms": "(Intercept)", "cov": [[vc["cov"][at[0]][at[0]]]]}
        )
        pairs = [
            (f"{level}:{blup['terms'][i].removeprefix(stem)}".removesuffix(":"), row[i])
            for level, row in zip(blup["levels"], blup["blup"], strict=True)
            for i in at
        ]
        entry["ranef"].append(
            {
                "factor": group,
                "nlevels": len(pairs),
                "terms": "(Intercept)",
                "levels": [level for level, _ in pairs],
                "blup": [[value] for _, value in pairs],
            }
        )
    return entry


def from_oracle(entry: dict, told: dict) -> dict:
    if entry["id"] == "nlme_assay_pdblocked":
        entry = split_pdblocked(entry)
    rename = told.get("rename", {})
    out = {
        "id": entry["id"],
        "data": entry["dataset"],
        "engine": entry["engine"],
        "method": entry["method"],
        "r_formula": entry["formula"],
        "formula": told.get("formula", spaced(entry["formula"])),
    }
    if "nlme_call" in entry:
        out["nlme_call"] = entry["nlme_call"]
    out |= {k: told[k] for k in ("weights", "levels", "compute", "blank") if k in told}
    out |= {k: entry[k] for k in KEPT if entry.get(k) is not None}
    if "BIC" in entry:  # nlme counts n - p observations in BIC when REML, lme4 n
        out["BIC"] = entry["BIC"]
    out["fixed"] = fixed(entry)
    if "vcov" in entry:
        out["vcov"] = entry["vcov"]
    out["varcomp"] = varcomp(entry, rename)
    out["ranef"] = ranef(entry, rename)
    return out


def from_quick(name: str, entry: dict, told: dict) -> dict:
    """Turn ``{"Subject|(Intercept)|Days": value}`` into matrices; no BLUPs, they lack names."""
    cells: dict[str, dict[tuple[str, str], float]] = {}
    for key, value in entry["vc"].items():
        group, first, second = key.split("|")
        cells.setdefault(group, {})[first, second or first] = value
    sigma2 = cells.pop("Residual")["", ""]
    components = []
    for group, values in cells.items():
        terms = [a for a, b in values if a == b]
        cov = [[values.get((a, b), values.get((b, a))) for b in terms] for a in terms]
        components.append({"group": group, "terms": terms, "cov": cov})
    return {
        "id": name,
        "data": told["data"],
        "engine": "lme4 1.1.31",
        "method": "REML" if entry["REML"] else "ML",
        "r_formula": entry["formula"],
        "formula": entry["formula"],
        "nobs": entry["n"],
        "sigma": sigma2**0.5,
        "logLik": -entry["m2ll"] / 2,
        "AIC": entry["AIC"],
        "BIC": entry["BIC"],
        "singular": entry["singular"],
        "polished": False,
        "fixed": [{"name": k, "est": v, "se": entry["se"][k]} for k, v in entry["fixef"].items()],
        "varcomp": components,
        "ranef": [],
    }


def from_listing(text: str) -> list[dict]:
    """Read the two unbalanced fits off the printed lmerTest output: estimates, SEs, variances."""
    number = r"(-?[\d.]+)"

    def coefficients(names: list[str]) -> list[dict]:
        out = []
        for name in names:
            row = re.search(rf"^{re.escape(name)}\s+{number}\s+{number}\s", text_part, re.M)
            out.append({"name": name, "est": float(row[1]), "se": float(row[2])})
        return out

    second = text.index("\n(Intercept) 251.236678")
    text_part = text[:second]
    vc = {g: float(v) for g, v in re.findall(rf"^ (\S+) +\(Intercept\) {number}", text_part, re.M)}
    residual = float(re.search(rf"^ Residual +{number}", text_part, re.M)[1])
    machines = {
        "id": "machines_unb_reml",
        "data": "machines_unb",
        "r_formula": "score ~ Machine + (1|Worker) + (1|Worker:Machine)",
        "fixed": coefficients(["(Intercept)", "MachineB", "MachineC"]),
        "sigma": residual**0.5,
        "varcomp": [
            {"group": g, "terms": ["(Intercept)"], "cov": [[v]]}
            for g, v in vc.items()
            if g != "Subject"
        ],
    }
    text_part = text[second:]
    a = float(re.search(rf"^ Subject +\(Intercept\) {number}", text_part, re.M)[1])
    b = float(re.search(rf"^ +Days +{number}", text_part, re.M)[1])
    residual = float(re.search(rf"^ Residual +{number}", text_part, re.M)[1])
    sleep = {
        "id": "sleep_unb_reml",
        "data": "sleep_unb",
        "r_formula": "Reaction ~ Days + (Days|Subject)",
        "fixed": coefficients(["(Intercept)", "Days"]),
        "sigma": residual**0.5,
        # the correlation is printed to five digits only, so the covariance is left open
        "varcomp": [
            {"group": "Subject", "terms": ["(Intercept)", "Days"], "cov": [[a, None], [None, b]]}
        ],
    }
    common = {"engine": "lme4 1.1.31", "method": "REML", "polished": False, "ranef": []}
    return [{**e, "formula": spaced(e["r_formula"]), **common} for e in (machines, sleep)]


def compact(value: object, indent: int = 0) -> str:
    """Write JSON with one line an item, lists of numbers on one line."""
    pad = " " * (indent + 1)
    if isinstance(value, dict) and indent < 3:
        rows = [f"{pad}{json.dumps(k)}: {compact(v, indent + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(rows) + "\n" + " " * indent + "}"
    if isinstance(value, list) and value and isinstance(value[0], dict) and indent < 3:
        rows = [pad + compact(v, indent + 1 if indent == 0 else 9) for v in value]
        return "[\n" + ",\n".join(rows) + "\n" + " " * indent + "]"
    return json.dumps(value)


def copy_data(source: Path, name: str) -> None:
    raw = (source / "data" / f"{name}.csv").read_bytes()
    plain, packed = HERE / "data" / f"{name}.csv", HERE / "data" / f"{name}.csv.gz"
    if len(raw) > COMPRESS_ABOVE:
        packed.write_bytes(gzip.compress(raw, 9, mtime=0))
    else:
        shutil.copyfile(source / "data" / f"{name}.csv", plain)
        plain.chmod(0o644)


def main(source: Path) -> None:
    everything = {e["id"]: e for e in json.loads((source / "oracle.json").read_text())}
    quick = json.loads((source / "lme4_quick.json").read_text())
    entries = [from_oracle(everything[name], told) for name, told in MODELS.items()]
    entries += [from_quick(name, quick[name], told) for name, told in QUICK.items()]
    entries += from_listing((source / "unbalanced_lme4.txt").read_text())
    listing = (source / "unbalanced_lme4.txt").read_text()
    (HERE / "data").mkdir(exist_ok=True)
    residual = residual_entries(everything)
    made = [json.loads((HERE / f"made_{k}.json").read_text()) for k in ("here", "residual")]
    names = {e["data"] for part in [entries, residual, *made] for e in part}
    for name in sorted(names):
        copy_data(source, name)
    (HERE / "lme4.json").write_text(compact(entries) + "\n")
    (HERE / "residual.json").write_text(compact(residual) + "\n")
    found = df_entries(everything, list(MODELS), [e["id"] for e in residual], listing)
    (HERE / "df.json").write_text(compact(found) + "\n")
    adjusted = kenward_roger_entries(everything)
    (HERE / "kenward_roger.json").write_text(compact(adjusted) + "\n")
    print(f"{len(entries)} + {len(residual)} entries, {len(names)} data sets")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
