"""What is asked of a fit as options of the command line, which the workflow's rule passes on.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from mixedflow.config.inference import InferConfig
from mixedflow.config.words import as_options, in_a_line, keys_given


def infer_options(asked: InferConfig) -> list[str]:
    """Return the options that say what is asked of a fit."""
    content = asked.model_dump(mode="json")
    options = [f"--{key}={content[key]}" for key in ("ddf", "level", "anova")]
    options += [f"--contrast={name}={in_a_line(L)}" for name, L in content["contrasts"].items()]
    options += [f"--emmeans={in_a_line(keys_given(means))}" for means in asked.emmeans]
    options += as_options({"robust": asked.robust})
    options += [f"--influence={factor}" for factor in asked.influence]
    if asked.intervals is not None:
        options.append(f"--intervals={in_a_line(keys_given(asked.intervals))}")
    if asked.random_tests:
        options.append("--random-tests")
    if asked.variance_test is not None:
        options.append(f"--variance-test={in_a_line(keys_given(asked.variance_test))}")
    if asked.bootstrap is not None:
        options.append(f"--bootstrap={in_a_line(keys_given(asked.bootstrap))}")
    if asked.caic:
        options.append("--caic")
    return options
