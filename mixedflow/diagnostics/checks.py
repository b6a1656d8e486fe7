"""The fit and its residuals, judged: one row a check, with a verdict and one sentence.

Stands at "Did it converge" in ``docs/algorithm.md``. Every threshold is relative to the scale of
what it judges, so that a change of units changes no verdict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr

from mixedflow.diagnostics.sketch import ResidualSums
from mixedflow.results.summary import FitLike, format_number, is_blank

Verdict = Literal["ok", "note", "warning"]


@dataclass(frozen=True, slots=True)
class Check:
    """One verdict: what was looked at, what was found, how it is judged, and why it matters."""

    name: str
    value: str
    verdict: Verdict
    sentence: str


_MEANING = {
    "gradient": "The scaled slope of the likelihood at the estimates; zero at an inner optimum.",
    "score": "The scaled slope of the likelihood at the estimates; zero at an inner optimum.",
    "decrement": "How much the likelihood could still rise, by a quadratic approximation.",
    "information": "The curvature is that of a maximum when the information is positive definite.",
    "definite": "The curvature is that of a maximum when the information is positive definite.",
    "monoton": "EM steps can only raise the likelihood; a fall would point to a numerical error.",
    "independent": "The likelihood, computed again by another route, must give the same number.",
    "minus2ll": "The likelihood, computed again by another route, must give the same number.",
    "boundary": "On its boundary a variance is zero, or a correlation one: the term asks for more "
    "than the data hold.",
    "change": "How much the parameters still moved in the last step, relative to their size.",
}
_VERDICTS: dict[str, Verdict] = {"ok": "ok", "note": "note", "warning": "warning"}


def _converged(fit: FitLike) -> Check:
    found = f"{'yes' if fit.converged else 'no'}, {fit.n_iter} iterations ({fit.method})"
    if fit.converged:
        return Check("Converged", found, "ok", "The iterations met every convergence criterion.")
    return Check(
        "Converged",
        found,
        "warning",
        "The iterations ended before they met the convergence criteria: "
        "the estimates are not a maximum of the likelihood and should not be used.",
    )


def term_smallest_root(fit: FitLike) -> dict[str, float]:
    """Smallest eigenvalue of each term's correlation matrix; 0 where a variance is zero."""
    frame = fit.varcorr
    terms: dict[str, dict[str, float]] = {}
    for group, name, other, sd in zip(
        frame["group"], frame["term1"], frame["term2"], frame["sdcor"], strict=True
    ):
        if not is_blank(name) and is_blank(other):
            terms.setdefault(str(group), {})[str(name)] = float(sd)
    out = {}
    for label, columns in terms.items():
        names = list(columns)
        corr = np.eye(len(names))
        for group, a, b, r in zip(
            frame["group"], frame["term1"], frame["term2"], frame["sdcor"], strict=True
        ):
            if str(group) == label and not is_blank(b) and math.isfinite(float(r)):
                i, j = names.index(str(a)), names.index(str(b))
                corr[i, j] = corr[j, i] = float(r)
        zero = any(sd == 0 for sd in columns.values())
        out[label] = 0.0 if zero else float(np.linalg.eigvalsh(corr)[0])
    return out


def _boundary(fit: FitLike) -> list[Check]:
    rows = []
    for label, root in term_smallest_root(fit).items():
        on = root < 1e-6
        sentence = (
            "A variance is zero, or a combination of the columns has none: "
            "the data support a smaller random part."
            if on
            else "All variances and correlations lie inside their range."
        )
        inside = "inside" if root == 1.0 else f"inside (smallest root {format_number(root, 3)})"
        value = "on the boundary" if on else inside
        rows.append(Check(f"Boundary, {label}", value, "note" if on else "ok", sentence))
    if fit.singular and all(row.verdict == "ok" for row in rows):
        sentence = "The fit is singular: a variance is zero relative to the scale of its column."
        rows.append(Check("Boundary", "singular fit", "note", sentence))
    return rows


def _conditions(fit: FitLike) -> list[Check]:
    rows = []
    for name, value in fit.conditions.items():
        verdict: Verdict = "ok" if value < 1e8 else "note" if value < 1e12 else "warning"
        lost = max(round(math.log10(value)), 0) if 0 < value < math.inf else 16
        sentence = f"About {lost} of 16 digits are lost in solving with this matrix."
        rows.append(Check(f"Condition number, {name}", f"{value:.2g}", verdict, sentence))
    return rows


def _certificate(fit: FitLike, *, skip_boundary: bool) -> list[Check]:
    rows = []
    for name, value, verdict in fit.certificate.as_rows():
        key = str(name).casefold()
        if skip_boundary and "boundary" in key:
            continue
        sentence = next((text for part, text in _MEANING.items() if part in key), "")
        shown = format_number(value, 3) if isinstance(value, float) else str(value)
        rows.append(
            Check(
                str(name)[:1].upper() + str(name)[1:],
                shown,
                _VERDICTS.get(str(verdict), "warning"),
                sentence,
            )
        )
    return rows


def _shape(sums: ResidualSums) -> list[Check]:
    _, _, skewness, kurtosis = sums.moments()
    if sums.n < 20 or not math.isfinite(skewness):
        return []
    lopsided, heavy = abs(skewness) > 0.5, kurtosis > 1.0
    return [
        Check(
            "Skewness of residuals",
            f"{skewness:.2f}",
            "note" if lopsided else "ok",
            "The residuals lean to one side; a transformation of the response may help."
            if lopsided
            else "The residuals are close to symmetric.",
        ),
        Check(
            "Excess kurtosis of residuals",
            f"{kurtosis:.2f}",
            "note" if heavy else "ok",
            "The tails are heavier than normal: look at the rows with extreme residuals."
            if heavy
            else "The tails are not heavier than normal to a degree that matters.",
        ),
    ]


def _largest(sums: ResidualSums) -> list[Check]:
    if sums.extremes is None or sums.n < 20:
        return []
    row, size = int(sums.extremes.row[0]), abs(float(sums.extremes.standardised[0]))
    expected = 2 * sums.n * float(ndtr(-size))
    odd = expected < 0.01
    sentence = (
        f"A residual of this size is expected {format_number(expected, 2)} times in "
        f"{sums.n:,} normal residuals."
    )
    value = f"{size:.2f} (row {row:,})"
    return [Check("Largest standardised residual", value, "note" if odd else "ok", sentence)]


def check_rows(fit: FitLike, sums: ResidualSums | None = None) -> tuple[Check, ...]:
    """Return all verdicts on a fit and, where the second pass has been run, on its residuals."""
    rows = [_converged(fit), *_boundary(fit)]
    rows += _certificate(fit, skip_boundary=True)
    rows += _conditions(fit)
    if sums is not None and sums.n:
        rows += _shape(sums) + _largest(sums)
    return tuple(rows)
