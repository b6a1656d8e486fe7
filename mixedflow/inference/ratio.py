"""Likelihood-ratio tests: chi-squared, and mixtures where a variance is tested at zero.

Stands at "Likelihood ratios" in ``docs/algorithm.md``. A variance cannot be negative, so under the
null hypothesis it is estimated as zero half of the time (Self and Liang 1987; Stram and Lee 1994).
"""

from __future__ import annotations

from dataclasses import dataclass

from mixedflow.design.spec import ModelSpec
from mixedflow.design.types import DesignInfo, TermDesign

FREE_STRUCTURES = ("us", "diag")
"""Structures of G whose parameters are its variances and covariances themselves."""


@dataclass(frozen=True, slots=True)
class RandomPart:
    """What the G of a model leaves free.

    Attributes
    ----------
    variances : (group, column)
    covariances : (group, the two columns)
    plain : whether variances and covariances are all that there is to know of G
    """

    variances: frozenset[tuple[str, str]]
    covariances: frozenset[tuple[str, frozenset[str]]]
    plain: bool


def random_part(info: DesignInfo, terms: tuple[TermDesign, ...]) -> RandomPart:
    """Return the free variances and covariances of a model's terms."""
    variances, covariances = set(), set()
    for term in terms:
        factor = info.factors[term.factor]
        names = [factor.columns[c] for c in term.columns]
        variances |= {(factor.name, name) for name in names}
        if term.structure == "us":
            covariances |= {
                (factor.name, frozenset((a, b))) for i, a in enumerate(names) for b in names[:i]
            }
    plain = all(term.structure in FREE_STRUCTURES for term in terms)
    return RandomPart(frozenset(variances), frozenset(covariances), plain)


def same_residuals(a: ModelSpec, b: ModelSpec) -> bool:
    """Whether two models say the same of R."""
    return a.residual == b.residual and a.weights == b.weights


def nested(small: RandomPart, large: RandomPart) -> bool:
    """Whether every variance and covariance of the smaller model is one of the larger."""
    if not (small.plain and large.plain):
        return small == large
    return small.variances <= large.variances and small.covariances <= large.covariances


def extra_variances(small: RandomPart, large: RandomPart) -> int | None:
    """Return how many variances the smaller model has at zero; None where the two do not tell."""
    if not (small.plain and large.plain and nested(small, large)):
        return None if small != large else 0
    return len(large.variances - small.variances)


def chi2_p(statistic: float, df: int) -> float:
    """Return P(chi2_df >= statistic); chi2_0 is 0 for certain."""
    if df <= 0:
        return 1.0 if statistic <= 0 else 0.0
    from scipy.special import chdtrc

    return float(chdtrc(df, max(statistic, 0.0)))


def one_variance_p(statistic: float, df: int) -> float:
    """Return 1/2 P(chi2_(df-1) >= x) + 1/2 P(chi2_df >= x), for one variance and df - 1 covariances.

    Parameters
    ----------
    statistic : x, twice the difference of the log-likelihoods
    df : parameters that the larger model has more
    """
    return 0.5 * chi2_p(statistic, df - 1) + 0.5 * chi2_p(statistic, df)


def aicc(minus2ll: float, n_params: int, n_obs: int) -> float:
    """Return -2l + 2 k + 2 k (k + 1) / (n - k - 1); infinite where n <= k + 1.

    Hurvich and Tsai (1989).
    """
    left = n_obs - n_params - 1
    if left <= 0:
        return float("inf")
    return minus2ll + 2.0 * n_params + 2.0 * n_params * (n_params + 1) / left
