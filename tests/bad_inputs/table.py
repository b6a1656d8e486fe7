"""All bad inputs, by section, and what comes of trying one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bad_inputs.bootstrap_cases import BOOTSTRAPS
from bad_inputs.cases import Case
from bad_inputs.checked_config_cases import CHECKED_CONFIGS
from bad_inputs.command_cases import COMMAND_LINES
from bad_inputs.config_cases import CONFIGS
from bad_inputs.data_cases import DATA
from bad_inputs.file_cases import DATA_FILES
from bad_inputs.formula_cases import FORMULAS
from bad_inputs.group_cases import GROUPS
from bad_inputs.inference_cases import INFERENCES
from bad_inputs.marginal_cases import MARGINALS
from bad_inputs.output_cases import OUTPUTS
from bad_inputs.prediction_cases import PREDICTIONS
from bad_inputs.residual_cases import RESIDUALS
from bad_inputs.scan_cases import SCANS
from bad_inputs.scan_config_cases import SCAN_CONFIGS
from bad_inputs.stored_cases import STORED_FILES
from bad_inputs.sweep_cases import SWEEPS
from bad_inputs.sweep_config_cases import SWEEP_CONFIGS
from bad_inputs.variance_cases import VARIANCES

from mixedflow import cli

SECTIONS: dict[str, Sequence[Case]] = {
    **CONFIGS,
    **CHECKED_CONFIGS,
    **SWEEP_CONFIGS,
    **SCAN_CONFIGS,
    **COMMAND_LINES,
    **FORMULAS,
    **RESIDUALS,
    **INFERENCES,
    **VARIANCES,
    **GROUPS,
    **MARGINALS,
    **PREDICTIONS,
    **BOOTSTRAPS,
    **SCANS,
    **SWEEPS,
    **DATA_FILES,
    **DATA,
    **STORED_FILES,
    **OUTPUTS,
}
CASES = [(section, case) for section, cases in SECTIONS.items() for case in cases]
IDS = [f"{section}: {case.name}" for section, case in CASES]


@dataclass(frozen=True)
class Answer:
    """What a command answered: exit code, class of the failure if it was foreseen."""

    code: int
    error: type[Exception] | None


def invoked(command: Sequence[str], monkeypatch: Any) -> Answer:
    """Run a command in this process, looking at the class of its failure on the way."""
    caught: list[type[Exception]] = []
    foreseen = cli._foreseen

    def spy(failure: Any, *, debug: bool) -> int:
        caught.append(type(failure))
        return foreseen(failure, debug=debug)

    monkeypatch.setattr(cli, "_foreseen", spy)
    code = cli.invoke(command)
    return Answer(code, caught[0] if caught else None)
