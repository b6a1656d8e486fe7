"""What the workflow runs for a configuration: designs, and the command line of every step.

The rules of ``workflow/rules`` take their wildcards and options from here, so that what a rule
tracks is exactly what its step depends on. Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mixedflow.config.command_options import infer_options
from mixedflow.config.dask import parse_memory
from mixedflow.config.inference import check_factors, check_variables
from mixedflow.config.models import Config, DataConfig, ModelConfig
from mixedflow.config.resampling import check_drawn, check_dropped
from mixedflow.config.scan_plan import check_scan, scan_options
from mixedflow.config.sizes import minutes, pass_mb, rows_mb, sums_mb
from mixedflow.config.sweep_plan import check_order, check_sweep, files_beside, sweep_options
from mixedflow.config.words import as_options, in_a_line, keys_given
from mixedflow.errors import ConfigError, MixedflowError

DEFAULT_THREADS = 2
DEFAULT_JOBS = 2
"""Jobs of workers at most, where nothing is said."""

_WORKERS_BESIDE = ("srun", "jobqueue")

MONTE_CARLO = ("mc_probes", "mc_target", "mc_seed")
"""Keys of `control` for the solver `pcg`."""

_GLOB_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class WorkflowPlan:
    """The configuration and the design that each of its models needs.

    Attributes
    ----------
    config : the checked configuration
    designs : model -> design key; models with the same data and key share one pass over the rows
    """

    config: Config
    designs: Mapping[str, str]

    def sharing(self, dataset: str, design: str) -> list[str]:
        """Return the models that use a design, sorted by name."""
        models = self.config.models
        return sorted(
            name
            for name, key in self.designs.items()
            if key == design and models[name].data == dataset
        )

    def data_files(self, dataset: str) -> list[str]:
        """Return the files of a data set as they are now; a missing one stays in the list.

        A folder or glob stands for its files, so that a changed file in it is noticed. A folder
        that a Snakemake rule made carries a time stamp of its own and stands for itself.
        """
        path = self.config.data[dataset].path
        if Path(path).is_dir():
            folder = Path(path)
            if (folder / ".snakemake_timestamp").exists():
                return [path]
            inside = sorted(str(file) for file in folder.rglob("*") if file.is_file())
            return [file for file in inside if not Path(file).name.startswith((".", "_"))] or [path]
        if _GLOB_CHARACTERS & set(path):
            pattern = Path(path)
            anchor = Path(pattern.anchor) if pattern.anchor else Path()
            relative = str(pattern.relative_to(pattern.anchor) if pattern.anchor else pattern)
            return sorted(str(file) for file in anchor.glob(relative)) or [path]
        return [path]

    def prepare_options(self, dataset: str) -> str:
        """Return the options of ``mixedflow prepare`` for a data set."""
        data = self.config.data[dataset]
        given = [f"--type={column}={kind}" for column, kind in sorted(data.types.items())]
        given += _level_options(data)
        group = data.group or self.residual_group(dataset)
        given += as_options({"group": group, "order": data.order})
        given += as_options({"partition-rows": data.partition_rows})
        return shlex.join(given)

    def residual_group(self, dataset: str) -> str | None:
        """Return the column whose rows all models of a data set need together, if there is one."""
        from mixedflow.design.residual import parse_residual

        models = [model for model in self.config.models.values() if model.data == dataset]
        groups = {parse_residual(model.residual).group[-1:] for model in models}
        (group,) = groups if len(groups) == 1 else ((),)
        return group[0] if group else None

    def condense_formula(self, dataset: str, design: str) -> str:
        """Return one of the formulas that share the design, quoted."""
        return shlex.quote(self._first(dataset, design).formula)

    def condense_options(self, dataset: str, design: str) -> str:
        """Return the options of ``mixedflow condense`` for a design."""
        model = self._first(dataset, design)
        return shlex.join(_spec_options(self.config.data[dataset], model))

    def fit_options(self, name: str) -> str:
        """Return formula and options of ``mixedflow fit`` for a model."""
        model, control = self.config.models[name], self.config.control
        options = [model.formula, *_spec_options(self.config.data[model.data], model)]
        options.append("--reml" if model.reml else "--ml")
        options.append(f"--method={model.method}")
        options += as_options({"max-iter": control.max_iter, "tolerance": control.tolerance})
        if control.solver != "auto":
            options.append(f"--solver={control.solver}")
        options += as_options({key: getattr(control, key) for key in MONTE_CARLO})
        if model.sharded:
            options.append("--sharded")
        if control.nonconverged == "report":
            options.append("--allow-nonconverged")
        return shlex.join(options)

    @property
    def threads(self) -> int:
        """Threads that a pass over the rows may use."""
        dask = self.config.dask
        if dask.kind in _WORKERS_BESIDE:
            return dask.threads if dask.kind == "srun" else 1
        return DEFAULT_THREADS if dask.workers is None else dask.workers * dask.threads

    def pass_mb(self, dataset: str, threads: int) -> int:
        """Return the memory that a pass over the rows may use, in MB."""
        if (given := self._given_mb()) is not None:
            return given
        dask = self.config.dask
        processes = dask.kind in ("processes", "local", "srun")
        return pass_mb(self.rows_mb(dataset), threads, processes=processes)

    def sums_mb(self, dataset: str | None = None) -> int:
        """Return the memory that a step on the sums of a data set, or of all, may use, in MB."""
        if (given := self._given_mb()) is not None:
            return given
        datasets = self.config.data if dataset is None else [dataset]
        return max(sums_mb(self.rows_mb(name)) for name in datasets)

    def minutes(self, dataset: str, threads: int = 1) -> int:
        """Return the minutes that a step of a data set may take."""
        return minutes(self.rows_mb(dataset), threads)

    def _given_mb(self) -> int | None:
        """Return the memory that the configuration gives a job; of workers in jobs, theirs alone."""
        dask = self.config.dask
        if dask.memory is None or dask.kind == "jobqueue":
            return None
        return max(1, parse_memory(dask.memory) // 10**6)

    def rows_mb(self, dataset: str) -> float:
        """Return the rows of a data set as eight-byte numbers, in MB, from the size of its files."""
        return rows_mb(self.data_files(dataset))

    def dask_options(
        self,
        threads: int,
        mem_mb: int,
        tasks: int | None = None,
        nodes: int | None = None,
        prepares: str | None = None,
    ) -> str:
        """Return the options that say where a pass over the rows runs.

        Parameters
        ----------
        threads, mem_mb : of the rule's job, on one node
        tasks, nodes : of a job on several nodes, for workers started by srun
        prepares : data set that the pass prepares: what it writes, and so the last bits of all sums,
            is sized for the memory of a first attempt, also where a later one has more
        """
        dask = self.config.dask
        here = max(1, threads // dask.threads)
        workers = dask.workers or here
        if dask.kind == "srun":
            there = tasks or 1
            workers = min(dask.workers or there, there)
        elif dask.kind == "jobqueue":
            workers = dask.workers or DEFAULT_JOBS
        elif dask.kind != "address":
            workers = min(workers, here)
        options = [f"--dask={dask.kind}", f"--workers={workers}", f"--threads={dask.threads}"]
        options.append(f"--memory={self._memory(mem_mb, nodes)}")
        if prepares is not None:
            first = min(mem_mb, self.pass_mb(prepares, threads))
            options.append(f"--partition-memory={self._memory(first, nodes)}")
        options += as_options({"address": dask.address, "scheduler-file": dask.scheduler_file})
        options += as_options({"patience": dask.patience, "interface": dask.interface})
        options += ["--performance-report"] * dask.performance_report
        sections = {"tls": dask.tls, "jobqueue": dask.jobqueue}
        options += [
            f"--{name}={in_a_line(keys_given(given))}" for name, given in sections.items() if given
        ]
        return shlex.join(options)

    def _memory(self, mem_mb: int, nodes: int | None) -> str:
        """Return the memory of all workers of a job together."""
        dask = self.config.dask
        if dask.kind == "jobqueue":
            return dask.memory or f"{mem_mb * (dask.workers or DEFAULT_JOBS)} MB"
        return f"{mem_mb * ((nodes or 1) if dask.kind == 'srun' else 1)} MB"

    @property
    def diagnosed(self) -> list[str]:
        """Return the models whose random effects are in one place, as residuals need them."""
        return [name for name, model in self.config.models.items() if not model.sharded]

    @property
    def inferred(self) -> list[str]:
        """Return the models of which tests and intervals are asked."""
        return [name for name, model in self.config.models.items() if model.infer is not None]

    def infer_options(self, name: str) -> str:
        """Return the options of ``mixedflow infer`` for a model."""
        asked = self.config.models[name].infer
        return "" if asked is None else shlex.join(infer_options(asked))

    def infer_needs_rows(self, name: str) -> bool:
        """Return whether something is asked of a model that its sums alone may not tell."""
        model = self.config.models[name]
        asked = model.infer
        if asked is None or model.sharded:
            return False
        second = asked.by_expectation and model.residual != "iid"
        boot = asked.bootstrap
        drawn = boot is not None and (boot.kind == "group" or model.residual != "iid")
        return second or drawn or asked.robust is not None or bool(asked.influence)

    def fit_source(self, name: str) -> str:
        """Return the folder that a model is fitted from: its design's, or prepared rows for shards."""
        model = self.config.models[name]
        place = "prepared" if model.sharded else f"designs/{self.designs[name]}"
        return f"{self.config.output}/{model.data}/{place}"

    def sweep_options(self, name: str) -> str:
        """Return the options of ``mixedflow sweep plan`` for a sweep."""
        sweep = self.config.sweep[name]
        data = self.config.data[sweep.data]
        missing = [] if data.missing == "drop" else [f"--missing={data.missing}"]
        return shlex.join([*sweep_options(sweep), *missing, *_level_options(data)])

    def sweep_files(self, name: str) -> list[str]:
        """Return the files of a sweep beside its data: a matrix and its names, lists of traits."""
        sweep = self.config.sweep[name]
        return files_beside(sweep.matrix, sweep.traits)

    def scan_files(self, name: str) -> list[str]:
        """Return the files of a scan beside its data: a matrix and its names, lists of covariates."""
        scan = self.config.scan[name]
        return files_beside(scan.matrix, scan.covariates)

    def scan_options(self, name: str) -> str:
        """Return formula and options of ``mixedflow scan`` for a scan."""
        scan = self.config.scan[name]
        return shlex.join([*scan_options(scan), *_level_options(self.config.data[scan.data])])

    def fit_threads(self, name: str) -> int:
        """Return the threads that a fit may use; a sharded one reads the rows."""
        return self.threads if self.config.models[name].sharded else 1

    def fit_place(
        self,
        name: str,
        threads: int,
        mem_mb: int,
        tasks: int | None = None,
        nodes: int | None = None,
    ) -> str:
        """Return the options that say where a fit runs."""
        if self.config.models[name].sharded:
            return self.dask_options(threads, mem_mb, tasks, nodes)
        return f"--threads={threads}"

    def _first(self, dataset: str, design: str) -> ModelConfig:
        return self.config.models[self.sharing(dataset, design)[0]]


def make_plan(config: Config, where: str = "the configuration") -> WorkflowPlan:
    """Return the plan of a configuration; a formula that cannot be read is an error here."""
    designs = {}
    for name, model in config.models.items():
        data = config.data[model.data]
        try:
            designs[name] = _design_of(model, data)
        except MixedflowError as fault:
            key = "residual" if str(fault).startswith("residual=") else "formula"
            raise type(fault)(f"{where}: models.{name}.{key}: {fault}") from None
        if model.sharded:
            _check_sharded(name, config, where)
        if model.infer is not None:
            check_asked(model, f"{where}: models.{name}.infer.")
    plan = WorkflowPlan(config, designs)
    for name, sweep in config.sweep.items():
        check_sweep(sweep, config.data[sweep.data], f"{where}: sweep.{name}")
        check_order(sweep, plan.residual_group(sweep.data), "sweep", f"{where}: sweep.{name}")
    for name, scan in config.scan.items():
        check_scan(scan, config.data[scan.data], f"{where}: scan.{name}")
        check_order(scan, plan.residual_group(scan.data), "scan", f"{where}: scan.{name}")
    return plan


def _design_of(model: ModelConfig, data: DataConfig) -> str:
    """Return the key of a model's design, before any data are seen."""
    from mixedflow.design.spec import make_spec, require_random_term

    spec = make_spec(
        model.formula,
        weights=model.weights,
        levels=data.levels,
        missing=data.missing,
        residual=model.residual,
    )
    require_random_term(spec)
    return spec.design_key(_declared_categories(data))


def check_asked(model: ModelConfig, where: str) -> None:
    """Raise where what is asked of a fit names variables or factors that its formula has not."""
    from mixedflow.design.spec import make_spec

    spec = make_spec(model.formula, weights=model.weights, residual=model.residual)
    group = spec.parsed_residual.group
    factors = [factor.name for factor in spec.parsed.factors] or [":".join(group)]
    if model.infer is not None:
        check_factors(model.infer, factors, where)
        check_variables(model.infer, spec.parsed.fixed.names, where)
        check_drawn(model.infer.bootstrap, factors, where)
        tested = model.infer.variance_test
        if tested is not None and tested.terms is not None:
            from mixedflow.results.dropping import smaller_models

            dropped = [one.dropped for one in smaller_models(spec.parsed)]
            check_dropped(tested, dropped, where)


def _check_sharded(name: str, config: Config, where: str) -> None:
    """Raise unless a model can be fitted in shards and its data keep groups whole."""
    from mixedflow.design.shardable import check_shardable
    from mixedflow.design.spec import make_spec

    model = config.models[name]
    spec = make_spec(model.formula, weights=model.weights, residual=model.residual)
    try:
        check_shardable(spec, config.control.solver)
    except MixedflowError as fault:
        raise type(fault)(f"{where}: models.{name}.sharded: {fault}") from None
    if config.data[model.data].group is None:
        (factor,) = spec.parsed.factors
        raise ConfigError(
            f"{where}: models.{name}.sharded: partitions must hold whole groups of '{factor.name}', and "
            f"data.{model.data}.group is not given; write `group: {factor.name}` there"
        )


def _declared_categories(data: DataConfig) -> dict[str, str]:
    """Return the columns that are known to be categories before any data are seen."""
    return {name: "categorical" for name, kind in data.types.items() if kind == "category"}


def commands_on_path() -> None:
    """Put the commands of this Python first on the search path of this process and its children."""
    own = str(Path(sys.executable).parent)
    others = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([own, *(place for place in others if place != own)])


def _spec_options(data: DataConfig, model: ModelConfig) -> list[str]:
    """Return the options that, with the formula, say what a design is."""
    return [
        *as_options({"weights": model.weights}),
        *as_options({"residual": None if model.residual == "iid" else model.residual}),
        f"--missing={data.missing}",
        *_level_options(data),
    ]


def _level_options(data: DataConfig) -> list[str]:
    return [
        f"--levels={column}={json.dumps(list(levels), ensure_ascii=False)}"
        for column, levels in sorted(data.levels.items())
    ]
