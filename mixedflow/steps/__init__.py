"""The functions behind the verbs, one a step of the workflow: open, call the rooms, write.

Stands outside the equations of ``docs/algorithm.md``; the steps are its sections in their order.
"""

from mixedflow.steps.check import ModelPlan, check_step, init_step
from mixedflow.steps.infer import infer_step
from mixedflow.steps.models import diagnose_step, fit_step, report_step
from mixedflow.steps.rows import Condensed, Prepared, condense_step, prepare_step

__all__ = [
    "Condensed",
    "ModelPlan",
    "Prepared",
    "check_step",
    "condense_step",
    "diagnose_step",
    "fit_step",
    "infer_step",
    "init_step",
    "prepare_step",
    "report_step",
]
