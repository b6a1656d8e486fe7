"""Did it converge, is it on a boundary, how do the residuals look."""

from mixedflow.diagnostics.checks import Check, check_rows
from mixedflow.diagnostics.compare import ComparedModel, Comparison, RatioTest, compare_models
from mixedflow.diagnostics.intervals import wald_table
from mixedflow.diagnostics.ranef import RandomColumn, random_columns
from mixedflow.diagnostics.ratios import compare_by_ratio
from mixedflow.diagnostics.store import (
    Diagnostics,
    diagnose,
    load_diagnostics,
    save_diagnostics,
)

__all__ = [
    "Check",
    "ComparedModel",
    "Comparison",
    "Diagnostics",
    "RandomColumn",
    "RatioTest",
    "check_rows",
    "compare_models",
    "diagnose",
    "load_diagnostics",
    "random_columns",
    "save_diagnostics",
    "compare_by_ratio",
    "wald_table",
]
