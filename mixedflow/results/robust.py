"""Tests by a covariance of beta-hat that holds whatever the covariance of a group's rows is.

Stands at "Robust covariance" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from mixedflow.errors import FitError, UnsupportedError, did_you_mean, listing
from mixedflow.inference.hypotheses import FixedTests
from mixedflow.inference.robust import RobustKind, RobustTests, adjusted, adjusted_symmetric
from mixedflow.results.group_sums import fit_groups

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult

OFFERED_DDF = ("satterthwaite", "residual", "asymptotic")


def robust_tests(fit: FitResult, ddf: str, vcov: str) -> FixedTests:
    """Return what tests of the fixed effects rest on by a robust covariance.

    Parameters
    ----------
    fit : whose grouping factors are nested in one of them
    ddf : "satterthwaite" (Bell and McCaffrey's), "residual" or "asymptotic"
    vcov : "CR0", "CR1", "CR2", "CR3"
    """
    kind = _checked(vcov, ("model", *get_args(RobustKind)), "vcov")
    method = _checked(ddf, OFFERED_DDF, f"with vcov='{kind}' ddf")
    groups = fit_groups(fit, "given a robust covariance")
    if len(groups.n_obs) < 2:
        raise FitError(f"vcov='{kind}' needs two groups or more; '{groups.name}' has one level")
    products = groups.products()
    plain = fit.spec.residual == "iid" and not fit.spec.weights
    if kind == "CR2" and plain:
        found = adjusted_symmetric(products.root, groups.columns())
    else:
        found = adjusted(products, kind)
    beta, model = fit.estimates.beta, fit.estimates.vcov
    if method == "satterthwaite":
        return RobustTests(method, beta, found.vcov, model, float("nan"), None, found)
    df = float(fit.nobs - len(beta)) if method == "residual" else float("inf")
    return FixedTests(method, beta, found.vcov, model, df)


def _checked(word: Any, offered: tuple[str, ...], what: str) -> Any:
    if word not in offered:
        raise UnsupportedError(
            f"{what}={word!r} is not offered; offered are {listing(offered)}"
            f"{did_you_mean(str(word), offered)}"
        )
    return word
