"""What a person can set about a fit, and what the driver remembers of it.

Stands at "The driver" in ``docs/algorithm.md``. Every option's allowed values stand here, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mixedflow.errors import ConfigError, did_you_mean, listing

Method = Literal["auto", "em", "px-em", "ai"]
METHODS: tuple[str, ...] = get_args(Method)

SolverName = Literal["auto", "grouped", "dense", "schur", "sparse"]
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
    em_steps : PX-EM steps before the first Newton step of ``auto``
    solver : the route for the equations; ``auto`` chooses by predicted cost
    threads : threads of the compiled passes; any number gives the same bits
    """

    max_iter: int | None = None
    tolerance: float = 1e-8
    parameter_tolerance: float = 1e-6
    em_steps: int = 3
    solver: SolverName = "auto"
    threads: int = 1

    def __post_init__(self) -> None:
        if self.max_iter is not None and self.max_iter < 1:
            raise ConfigError(f"max_iter must be 1 or more; found {self.max_iter}")
        for name in ("tolerance", "parameter_tolerance"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"{name} must lie between 0 and 1; found {getattr(self, name)}")
        if self.threads < 1:
            raise ConfigError(f"threads must be 1 or more; found {self.threads}")
        if self.em_steps < 0:
            raise ConfigError(f"em_steps must be 0 or more; found {self.em_steps}")
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


def checked_method(method: str) -> Method:
    """Return the method, or say which there are."""
    for known in METHODS:
        if method == known:
            return known  # type: ignore[return-value]  # one of the Literal's values
    raise ConfigError(
        f"method '{method}' is not known; allowed are {listing(METHODS)}"
        f"{did_you_mean(method, METHODS)}"
    )
