"""The fit and its residuals, judged: one row a check, with a verdict and one sentence.

Stands at "Certificate" in ``docs/algorithm.md``. Every threshold is relative to the scale of
what it judges, so that a change of units changes no verdict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scipy.special import ndtr

from mixedflow.diagnostics.sketch import ResidualSums
from mixedflow.results.fit_result import FitResult
from mixedflow.results.summary import format_number

Verdict = Literal["ok", "note", "warning"]


@dataclass(frozen=True, slots=True)
class Check:
    """One verdict: what was looked at, what was found, how it is judged, and why it matters."""

    name: str
    value: str
    verdict: Verdict
    sentence: str


_MEANING = {
    "score": "The scaled slope of the likelihood at the estimates; zero at an inner optimum.",
    "decrement": "How much the likelihood could still rise, by a quadratic approximation.",
    "newton step": "How far the last step still moved the parameters, relative to their size.",
    "eigenvalue": "The curvature is that of a maximum when this is positive.",
    "monotone": "EM steps can only raise the likelihood; a fall would be a numerical error.",
    "log-likelihood": "The likelihood, computed again by another route, must be the same.",
}
_VERDICTS: dict[str, Verdict] = {"ok": "ok", "note": "note", "warning": "warning"}


def _converged(fit: FitResult) -> Check:
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


def _boundary(fit: FitResult) -> list[Check]:
    rows = []
    for label, on in fit.certificate.boundary:
        sentence = (
            "A variance is zero, or a combination of the columns has none: "
            "the data support a smaller random part."
            if on
            else "All variances and correlations lie inside their range."
        )
        value = "on the boundary" if on else "inside"
        rows.append(Check(f"Boundary, {label}", value, "note" if on else "ok", sentence))
    for name, meaning in fit.certificate.limits:
        sentence = f"Double precision cannot tell more of this parameter: {meaning}."
        rows.append(Check(f"Boundary, residual {name}", "at its limit", "note", sentence))
    return rows


def _conditions(fit: FitResult) -> list[Check]:
    rows = []
    for name, value in fit.conditions.items():
        verdict: Verdict = "ok" if value < 1e8 else "note" if value < 1e12 else "warning"
        lost = max(round(math.log10(value)), 0) if 0 < value < math.inf else 16
        sentence = (
            f"About {lost} of 16 digits are lost in solving with this matrix."
            if lost
            else "No digits to speak of are lost in solving with this matrix."
        )
        rows.append(Check(f"Condition number, {name}", f"{value:.2g}", verdict, sentence))
    return rows


def _certificate(fit: FitResult) -> list[Check]:
    rows = []
    for name, value, verdict in fit.certificate.as_rows():
        key = str(name).casefold()
        if key == "converged" or key.startswith("boundary"):
            continue
        sentence = next((text for part, text in _MEANING.items() if part in key), "")
        title = str(name)[:1].upper() + str(name)[1:]
        rows.append(Check(title, str(value), _VERDICTS.get(str(verdict), "warning"), sentence))
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


def check_rows(fit: FitResult, sums: ResidualSums | None = None) -> tuple[Check, ...]:
    """Return all verdicts on a fit and, where the second pass has been run, on its residuals."""
    rows = [_converged(fit), *_boundary(fit)]
    rows += _certificate(fit)
    rows += _conditions(fit)
    if sums is not None and sums.n:
        rows += _shape(sums) + _largest(sums)
    return tuple(rows)
