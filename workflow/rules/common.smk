# The configuration, checked, and the helpers of the rules. What they return comes from
# mixedflow.config.plan, where it is tested.

import json
import os
import sys
from pathlib import Path

from mixedflow import __version__ as VERSION
from mixedflow.config import check_config, config_text, read_yaml
from mixedflow.config.plan import commands_on_path, make_plan
from mixedflow.errors import MixedflowError
from mixedflow.recording import keep_log, name_run

# The commands of the Python that runs Snakemake, also when its environment is not activated.
commands_on_path()

# Jobs write down to which run they belong and, where a Snakemake of their own runs them, which attempt
# they are.
name_run(main=workflow.is_main_process, arguments=sys.argv)


def checked_plan():
    """Return what the configuration asks for; one sentence, before any job, if it is wrong."""
    where = ", ".join(str(path) for path in workflow.configfiles) or "the configuration"
    try:
        for path in workflow.configfiles:
            read_yaml(path)  # repeated keys, which Snakemake's own reader lets pass
        plan = make_plan(check_config(config, where), where)
        if workflow.is_main_process:  # and not again in every job
            from mixedflow.config.early import check_early, data_to_come

            check_early(plan.config, Path(), where=where, later=data_to_come(plan))
        return plan
    except MixedflowError as failure:
        print(f"error: {failure}", file=sys.stderr)
        raise SystemExit(failure.exit_code) from None


PLAN = checked_plan()
RESULTS = PLAN.config.output
REPORT = f"{RESULTS}/report.html"
SCAN_PAGES = [f"{RESULTS}/scan-{name}.html" for name in PLAN.config.scan]
SWEEP_PAGES = [f"{RESULTS}/sweep-{name}.html" for name in PLAN.config.sweep]


NOTHING = "(?!)"  # what no name matches


wildcard_constraints:
    dataset="|".join(sorted(PLAN.config.data)),
    design="[0-9a-f]+",
    job="[0-9a-f]+",
    model="|".join(sorted(PLAN.config.models)) or NOTHING,
    scan="|".join(sorted(PLAN.config.scan)) or NOTHING,
    sweep="|".join(sorted(PLAN.config.sweep)) or NOTHING,


def data_files(wildcards):
    return PLAN.data_files(wildcards.dataset)


def data_path(wildcards):
    return PLAN.config.data[wildcards.dataset].path


def prepare_options(wildcards):
    return PLAN.prepare_options(wildcards.dataset)


# Any formula that has the design will do, so the choice must not be tracked: Snakemake leaves out
# of its record what a function with `resources` returns.
def condense_formula(wildcards, resources):
    return PLAN.condense_formula(wildcards.dataset, wildcards.design)


def condense_options(wildcards):
    return PLAN.condense_options(wildcards.dataset, wildcards.design)


def fit_options(wildcards):
    return PLAN.fit_options(wildcards.model)


def infer_options(wildcards):
    return PLAN.infer_options(wildcards.model)


def rows_to_infer(wildcards):
    needed = PLAN.infer_needs_rows(wildcards.model)
    return prepared_of_model(wildcards) if needed else []


def infer_rows(wildcards, input):
    return [f"--data={os.path.dirname(rows)}" for rows in [input.rows] if rows]


# Sizes come from those of the files; a profile with retries gives each attempt more.
def memory_of_pass(wildcards, threads, attempt):
    return PLAN.pass_mb(wildcards.dataset, threads) * attempt


def memory_of_model_pass(wildcards, threads, attempt):
    return PLAN.pass_mb(dataset_of_model(wildcards), threads) * attempt


def memory_of_fit(wildcards, threads, attempt):
    if PLAN.config.models[wildcards.model].sharded:
        return memory_of_model_pass(wildcards, threads, attempt)
    return PLAN.sums_mb(dataset_of_model(wildcards)) * attempt


def memory_of_report(wildcards, attempt):
    return PLAN.sums_mb() * attempt


def minutes_of_report(wildcards, attempt):
    return max(PLAN.minutes(name) for name in PLAN.config.data) * attempt


def minutes_of_pass(wildcards, threads, attempt):
    return PLAN.minutes(wildcards.dataset, threads) * attempt


def minutes_of_model(wildcards, threads, attempt):
    return PLAN.minutes(dataset_of_model(wildcards), threads) * attempt


def memory_of_sweep(wildcards, threads, attempt):
    return PLAN.pass_mb(PLAN.config.sweep[wildcards.sweep].data, threads) * attempt


def minutes_of_sweep(wildcards, threads, attempt):
    return PLAN.minutes(PLAN.config.sweep[wildcards.sweep].data, threads) * attempt


def dataset_of_model(wildcards):
    return PLAN.config.models[wildcards.model].data


# Tasks and nodes of a job on several nodes: profiles set them, and Slurm's own variables are gone
# where the command runs.
def job_shape(resources):
    return resources.get("tasks"), resources.get("nodes")


# Where the work runs changes no result and is not tracked either.
def dask_options(wildcards, threads, resources):
    return PLAN.dask_options(threads, resources.mem_mb, *job_shape(resources))


def prepare_place(wildcards, threads, resources):
    return PLAN.dask_options(
        threads, resources.mem_mb, *job_shape(resources), prepares=wildcards.dataset
    )


def prepared_of_model(wildcards):
    return (
        f"{RESULTS}/{PLAN.config.models[wildcards.model].data}/prepared/manifest.json"
    )


def source_of_model(wildcards):
    return f"{PLAN.fit_source(wildcards.model)}/manifest.json"


def fit_threads(wildcards):
    return PLAN.fit_threads(wildcards.model)


def fit_place(wildcards, threads, resources):
    return PLAN.fit_place(
        wildcards.model, threads, resources.mem_mb, *job_shape(resources)
    )


def model_folders(wildcards, input):
    return [os.path.dirname(os.path.dirname(fit)) for fit in input.fits]


def prepared_of_sweep(wildcards):
    return f"{RESULTS}/{PLAN.config.sweep[wildcards.sweep].data}/prepared/manifest.json"


def sweep_files(wildcards):
    return PLAN.sweep_files(wildcards.sweep)


def sweep_options(wildcards):
    return PLAN.sweep_options(wildcards.sweep)


def sweep_notes(wildcards):
    with checkpoints.sweep_plan.get(sweep=wildcards.sweep).output.plan.open() as plan:
        keys = [job["key"] for job in json.load(plan)["jobs"]]
    return [f"{RESULTS}/sweeps/{wildcards.sweep}/jobs/{key}.json" for key in keys]


def sweep_folders(wildcards, input):
    return [f"--sweep={os.path.dirname(manifest)}" for manifest in input.sweeps]


def prepared_of_scan(wildcards):
    return f"{RESULTS}/{PLAN.config.scan[wildcards.scan].data}/prepared/manifest.json"


def scan_files(wildcards):
    return PLAN.scan_files(wildcards.scan)


def scan_options(wildcards):
    return PLAN.scan_options(wildcards.scan)


def memory_of_scan(wildcards, threads, attempt):
    return PLAN.pass_mb(PLAN.config.scan[wildcards.scan].data, threads) * attempt


def minutes_of_scan(wildcards, threads, attempt):
    return PLAN.minutes(PLAN.config.scan[wildcards.scan].data, threads) * attempt


def scan_folders(wildcards, input):
    return [f"--scan={os.path.dirname(manifest)}" for manifest in input.scans]


# After the last job, for runs that fail as well; `mixedflow log` does the same at any time.
def gather_log():
    try:
        if os.path.isdir(RESULTS):
            keep_log(Path(RESULTS))
    except MixedflowError as failure:
        print(f"warning: {failure}", file=sys.stderr)
