"""What a person can set about a fit, and what the driver remembers of it.

Stands at "The driver" in ``docs/algorithm.md``. Every option's allowed values stand here, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, get_args

from mixedflow.errors import ConfigError, did_you_mean, listing

Method = Literal["auto", "em", "px-em", "ai"]
METHODS: tuple[str, ...] = get_args(Method)

SolverName = Literal["auto", "grouped", "dense", "schur", "sparse", "pcg"]
SOLVERS: tuple[str, ...] = get_args(SolverName)


@dataclass(frozen=True, slots=True)
class FitControl:
    """Settings of the driver.

    Attributes
    ----------
    max_iter : iterations after which the fit is returned as not converged; None for 200, or
        20,000 where the method is ``em`` or ``px-em``
    tolerance : the decrement g'H^-1g that counts as converged, in units of -2 log-likelihood
    parameter_tolerance : the largest step relative to the parameters that counts as converged
    em_steps : PX-EM steps before the first Newton step of ``auto``, at most; fewer where that step
        is below a tenth of the parameters
    accelerate : extrapolate ``em`` and ``px-em`` by SQUAREM every third iteration
    solver : the route for the equations; ``auto`` chooses by predicted cost
    warm_start : where an exact evaluation is expensive and the method is ``auto``, go near the
        optimum by a few estimated ones and start there, without PX-EM steps
    threads : threads of the compiled passes; any number gives the same bits
    mc_probes : random vectors that the solver ``pcg`` begins with; other solvers need none
    mc_target : the largest Monte-Carlo error of a variance component, as a share of its standard
        error, that ``pcg`` may leave; probes are added until it is met
    mc_seed : of the random vectors, those of ``warm_start`` too; the same seed gives the same fit
    """

    max_iter: int | None = None
    tolerance: float = 1e-8
    parameter_tolerance: float = 1e-6
    em_steps: int = 3
    accelerate: bool = True
    solver: SolverName = "auto"
    warm_start: bool = True
    threads: int = 1
    mc_probes: int = 16
    mc_target: float = 0.05
    mc_seed: int = 1

    def __post_init__(self) -> None:
        _check_count("max_iter", 1 if self.max_iter is None else self.max_iter, 1)
        _check_count("threads", self.threads, 1)
        _check_count("em_steps", self.em_steps, 0)
        for name in ("accelerate", "warm_start"):
            if not isinstance(getattr(self, name), bool):
                found = getattr(self, name)
                raise ConfigError(f"{name} must be true or false; found {found!r}")
        _check_count("mc_probes", self.mc_probes, 4)
        _check_count("mc_seed", self.mc_seed, 0)
        for name in ("tolerance", "parameter_tolerance", "mc_target"):
            value = getattr(self, name)
            if not isinstance(value, Real) or not 0 < float(value) < 1:
                raise ConfigError(f"{name} must be a number between 0 and 1; found {value!r}")
        if self.solver not in SOLVERS:
            raise ConfigError(
                f"solver '{self.solver}' is not known; allowed are {listing(SOLVERS)}"
                f"{did_you_mean(str(self.solver), SOLVERS)}"
            )

    def iterations(self, method: Method) -> int:
        """Return the largest number of iterations for a method."""
        if self.max_iter is not None:
            return self.max_iter
        return 20_000 if method in ("em", "px-em") else 200


def _check_count(name: str, value: object, least: int) -> None:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or int(value) < least:  # type: ignore[call-overload]  # it is whole there
        raise ConfigError(f"{name} must be a whole number, {least} or more; found {value!r}")


def checked_method(method: str) -> Method:
    """Return the method, or say which there are."""
    for known in METHODS:
        if method == known:
            return known  # type: ignore[return-value]  # one of the Literal's values
    raise ConfigError(
        f"method '{method}' is not known; allowed are {listing(METHODS)}"
        f"{did_you_mean(method, METHODS)}"
    )
