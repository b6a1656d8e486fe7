"""Questions about groups that a fit cannot answer: robust covariances, deletions, outlying groups."""

from __future__ import annotations

from bad_inputs.cases import frame
from bad_inputs.inference_cases import asked

import mixedflow as mf
from mixedflow.errors import DataError, UnsupportedError

CROSSED = "y ~ x + (1 | g) + (1 | h)"


def of_sums(fit: mf.FitResult) -> mf.FitResult:
    """Return the same model, fitted from sums that were not kept by group."""
    formula = fit.spec.formula
    return mf.fit(formula, mf.condense(formula, frame()))


GROUPS = {
    "Robust covariances and influence of groups": [
        asked(
            "robust covariance misspelt",
            "fit.infer(vcov='CR4')",
            UnsupportedError,
            "vcov='CR4'",
            "'CR2'",
            of=lambda fit: fit.infer(vcov="CR4"),
        ),
        asked(
            "degrees of freedom that a robust covariance cannot have",
            "fit.infer('kenward-roger', vcov='CR2')",
            UnsupportedError,
            "with vcov='CR2' ddf='kenward-roger'",
            "'satterthwaite'",
            of=lambda fit: fit.infer("kenward-roger", vcov="CR2"),
        ),
        asked(
            "robust covariance of crossed factors",
            "y ~ x + (1 | g) + (1 | h), fit.infer(vcov='CR2')",
            UnsupportedError,
            "crossed",
            "'g' and 'h'",
            of=lambda fit: fit.infer(vcov="CR2"),
            formula=CROSSED,
        ),
        asked(
            "robust covariance of sums without groups",
            "fit of condense(...), fit.infer(vcov='CR2')",
            UnsupportedError,
            "by_group='g'",
            of=lambda fit: of_sums(fit).infer(vcov="CR2"),
        ),
        asked(
            "robust covariance without groups",
            "residual='strata(sex)', y ~ x, fit.infer(vcov='CR2')",
            UnsupportedError,
            "has no groups",
            of=lambda fit: fit.infer(vcov="CR2"),
            formula="y ~ x",
            residual="strata(sex)",
        ),
        asked(
            "influence of crossed factors, none named",
            "y ~ x + (1 | g) + (1 | h), fit.influence()",
            DataError,
            "name the factor",
            of=lambda fit: fit.influence(),
            formula=CROSSED,
        ),
        asked(
            "influence of a misspelt factor",
            "fit.influence('G')",
            DataError,
            "'G' is not a grouping factor",
            "'g'",
            of=lambda fit: fit.influence("G"),
        ),
        asked(
            "influence of an unknown level",
            "fit.influence('g', ['zz'])",
            DataError,
            "'zz' is not a level of 'g'",
            of=lambda fit: fit.influence("g", ["zz"]),
        ),
        asked(
            "influence of a level that is no list",
            "fit.influence('g', 'a')",
            DataError,
            "must be a list",
            of=lambda fit: fit.influence("g", "a"),
        ),
        asked(
            "influence of no level",
            "fit.influence('g', [])",
            DataError,
            "no level was named",
            of=lambda fit: fit.influence("g", []),
        ),
        asked(
            "jackknife by groups of residuals",
            "residual='ar1(1 | g)', y ~ x, fit.jackknife()",
            UnsupportedError,
            "refit=False",
            of=lambda fit: fit.jackknife(),
            formula="y ~ x",
            residual="ar1(1 | g)",
        ),
        asked(
            "outlying groups of a misspelt factor",
            "fit.outlying_groups('G')",
            DataError,
            "'G' is not a grouping factor",
            of=lambda fit: fit.outlying_groups("G"),
        ),
        asked(
            "outlying groups without random effects",
            "residual='ar1(1 | g)', y ~ x, fit.outlying_groups()",
            UnsupportedError,
            "no random effects",
            of=lambda fit: fit.outlying_groups(),
            formula="y ~ x",
            residual="ar1(1 | g)",
        ),
    ]
}
