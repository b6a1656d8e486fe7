"""What the rules get: one design for models that share it, and options that say all and no more."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml

from mixedflow.config import check_config, inference, resampling
from mixedflow.config.models import Solver
from mixedflow.config.plan import commands_on_path, make_plan
from mixedflow.errors import ConfigError, FormulaError, UnsupportedError
from mixedflow.estimation.control import SOLVERS
from mixedflow.inference.adjustments import Adjustment
from mixedflow.inference.contrasts import ContrastMethod
from mixedflow.inference.hypotheses import DfMethod
from mixedflow.inference.robust import RobustKind
from mixedflow.results.bootstrap import BootstrapInterval, BootstrapKind
from mixedflow.results.comparison import Refit
from mixedflow.results.marginal_words import MeanWeights
from mixedflow.results.profiling import IntervalMethod, Likelihood
from mixedflow.results.variance_testing import TestMethod as VarianceMethod
from mixedflow.steps.asking import ADJUSTMENTS, DDF_WORDS, INTERVAL_WORDS


def plan_of(**changes):
    content = {
        "data": {
            "d": {"path": "d.csv", "types": {"g": "category"}, "levels": {"s": ["a, b", "c"]}}
        },
        "models": {
            "full": {"data": "d", "formula": "y ~ x + (x | g)"},
            "diagonal": {"data": "d", "formula": "y ~ x + (x || g)", "reml": False},
            "other": {"data": "d", "formula": "y ~ 1 + (1 | g)", "weights": "w"},
        },
    }
    return make_plan(check_config({**content, **changes}))


def test_models_of_one_design_share_it():
    plan = plan_of()
    assert plan.designs["full"] == plan.designs["diagonal"] != plan.designs["other"]
    assert plan.sharing("d", plan.designs["full"]) == ["diagonal", "full"]


def test_options_are_quoted_for_the_shell():
    plan = plan_of()
    assert shlex.split(plan.prepare_options("d")) == [
        "--type=g=category",
        '--levels=s=["a, b", "c"]',
    ]
    assert shlex.split(plan.fit_options("diagonal")) == [
        "y ~ x + (x || g)",
        "--missing=drop",
        '--levels=s=["a, b", "c"]',
        "--ml",
        "--method=auto",
        "--allow-nonconverged",
    ]
    assert "--weights=w" in plan.fit_options("other")
    assert shlex.split(plan.condense_formula("d", plan.designs["full"])) == ["y ~ x + (x || g)"]


def test_control_reaches_the_fit_only():
    plan = plan_of(control={"max_iter": 7, "tolerance": 1e-6, "nonconverged": "error"})
    options = shlex.split(plan.fit_options("full"))
    assert {"--max-iter=7", "--tolerance=1e-06"} <= set(options)
    assert "--allow-nonconverged" not in options
    assert plan.condense_options("d", plan.designs["full"]) == plan_of().condense_options(
        "d", plan_of().designs["full"]
    )


def test_dask_follows_the_threads_that_snakemake_gives():
    plan = plan_of(dask={"kind": "processes", "workers": 8, "threads": 2, "memory": "16 GB"})
    assert (plan.threads, plan.pass_mb("d", 16), plan.sums_mb()) == (16, 16000, 16000)
    assert shlex.split(plan.dask_options(4, 3000)) == [
        "--dask=processes",
        "--workers=2",
        "--threads=2",
        "--memory=3000 MB",
    ]


def test_workers_on_other_nodes_follow_the_tasks_of_the_job():
    plan = plan_of(dask={"kind": "srun", "threads": 2, "workers": 8, "interface": "ib0"})
    assert plan.threads == 2
    options = shlex.split(plan.dask_options(2, 3000, 4, 2))
    assert options == [
        "--dask=srun",
        "--workers=4",
        "--threads=2",
        "--memory=6000 MB",
        "--interface=ib0",
    ]


def test_workers_as_jobs_are_sized_apart_from_the_rule_that_asks_for_them():
    jobs = {"queue": "main", "walltime": 30, "directives": ["--constraint=avx2"]}
    plan = plan_of(dask={"kind": "jobqueue", "workers": 4, "memory": "16 GB", "jobqueue": jobs})
    assert (plan.threads, plan.pass_mb("d", 1)) == (1, 700)
    options = shlex.split(plan.dask_options(1, 4000))
    assert options[:4] == ["--dask=jobqueue", "--workers=4", "--threads=1", "--memory=16 GB"]
    assert yaml.safe_load(options[4].removeprefix("--jobqueue=")) == jobs


def test_more_memory_for_a_retry_leaves_the_partitions_as_they_were():
    plan = plan_of()
    first, second = (shlex.split(plan.dask_options(1, mb, prepares="d")) for mb in (700, 1400))
    assert (first[3:], second[3:]) == (
        ["--memory=700 MB", "--partition-memory=700 MB"],
        ["--memory=1400 MB", "--partition-memory=700 MB"],
    )
    less = shlex.split(plan.dask_options(1, 300, prepares="d"))
    assert less[3:] == ["--memory=300 MB", "--partition-memory=300 MB"]


def test_sizes_come_from_the_files(tmp_path):
    from mixedflow.config import sizes

    plan = plan_of()
    assert (plan.pass_mb("d", 4), plan.sums_mb("d"), plan.minutes("d")) == (700, 700, 10)
    path = tmp_path / "rows.csv"
    with path.open("wb") as file:
        file.truncate(50_000_000)
    assert sizes.rows_mb([str(path), "absent.csv"]) == 100
    path.rename(packed := tmp_path / "rows.csv.gz")
    assert sizes.rows_mb([str(packed)]) == 600
    assert sizes.pass_mb(100, 2, processes=False) == 700 + 2 * 8 * 100 + 100
    assert sizes.pass_mb(100, 2, processes=True) == 700 + 2 * (8 * 100 + 300) + 100
    assert sizes.pass_mb(1e6, 4, processes=False) == 700 + 4 * 8 * 128 + 3300
    assert sizes.sums_mb(100) == 1500
    assert sizes.minutes(10_000, 2) == 35


def test_a_formula_that_cannot_be_read_names_its_model():
    with pytest.raises(FormulaError, match=r"my\.yaml: models\.m\.formula: "):
        make_plan(
            check_config(
                {
                    "data": {"d": {"path": "d.csv"}},
                    "models": {"m": {"data": "d", "formula": "y ~ x + (1 | "}},
                }
            ),
            "my.yaml",
        )


def test_a_model_without_a_random_term_is_refused():
    models = {"m": {"data": "d", "formula": "y ~ x"}}
    with pytest.raises(FormulaError, match=r"models\.m\.formula: 'y ~ x' has no random term"):
        plan_of(models=models)


def test_declared_categories_tell_designs_apart():
    """``(c | g)`` and ``(c || g)`` code a category differently, and a number alike."""
    models = {
        "us": {"data": "d", "formula": "y ~ 1 + (c | g)"},
        "diag": {"data": "d", "formula": "y ~ 1 + (c || g)"},
    }
    number = plan_of(models=models)
    assert number.designs["us"] == number.designs["diag"]
    category = plan_of(models=models, data={"d": {"path": "d.csv", "types": {"c": "category"}}})
    assert category.designs["us"] != category.designs["diag"]


def test_data_files_are_the_files_that_are_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("parts")
    folder.mkdir()
    for name in ("b.parquet", "a.parquet", ".hidden", "_SUCCESS"):
        (folder / name).touch()
    data = {"d": {"path": "parts"}, "e": {"path": "parts/*.parquet"}, "f": {"path": "none/*.csv"}}
    models = {"m": {"data": "d", "formula": "y ~ 1 + (1 | g)"}}
    plan = make_plan(check_config({"data": data, "models": models}))
    assert plan.data_files("d") == plan.data_files("e") == ["parts/a.parquet", "parts/b.parquet"]
    assert plan.data_files("f") == ["none/*.csv"]
    (folder / ".snakemake_timestamp").touch()
    assert plan.data_files("d") == ["parts"]


def test_the_own_commands_come_first(monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin")
    commands_on_path()
    commands_on_path()
    assert os.environ["PATH"].split(os.pathsep) == [str(Path(sys.executable).parent), "/usr/bin"]


def test_a_solver_goes_to_the_fit():
    assert get_args(Solver) == SOLVERS
    assert "--solver" not in plan_of().fit_options(next(iter(plan_of().config.models)))
    plan = plan_of(control={"solver": "sparse"})
    assert "--solver=sparse" in shlex.split(plan.fit_options(next(iter(plan.config.models))))


def test_what_pcg_leaves_to_chance_goes_to_the_fit():
    plan = plan_of(control={"mc_probes": 32, "mc_target": 0.01, "mc_seed": 7})
    options = shlex.split(plan.fit_options(next(iter(plan.config.models))))
    assert {"--mc-probes=32", "--mc-target=0.01", "--mc-seed=7"} <= set(options)
    assert not any(o.startswith("--mc-") for o in shlex.split(plan_of().fit_options("full")))


def correlated(*residuals, **data):
    models = {
        f"m{k}": {"data": "d", "formula": "y ~ x + (1 | h)", "residual": residual}
        for k, residual in enumerate(residuals)
    }
    return plan_of(data={"d": {"path": "d.csv", **data}}, models=models)


def test_groups_of_the_residuals_are_prepared_together():
    plan = correlated("us(visit | arm/g)", "toep(visit | arm/g)", "ar1(1 | g)")
    assert plan.prepare_options("d") == "--group=g"
    assert plan.designs["m0"] == plan.designs["m1"] != plan.designs["m2"]
    assert "--residual=toep(visit | arm/g)" in shlex.split(plan.fit_options("m1"))
    assert "--residual=us(visit | arm/g)" in shlex.split(
        plan.condense_options("d", plan.designs["m1"])
    )
    assert correlated("us(v | g)", "us(v | h)").prepare_options("d") == ""
    assert correlated("us(v | g)", "iid").prepare_options("d") == ""
    assert correlated("us(v | g)", group="h").prepare_options("d") == "--group=h"


def test_a_residual_structure_that_cannot_be_read_is_named():
    with pytest.raises(FormulaError, match=r"models.m0.residual: residual='us\(v\)'"):
        correlated("us(v)")


def sharded_plan(formula="y ~ x + (1 | g)", **data):
    shards = {"data": "d", "formula": formula, "sharded": True}
    whole = {"data": "d", "formula": "y ~ x + (1 | g)"}
    return plan_of(
        data={"d": {"path": "d.csv", "group": "g", **data}},
        models={"shards": shards, "whole": whole},
        dask={"workers": 2, "memory": "3 GB"},
    )


def test_a_sharded_fit_reads_the_prepared_rows_where_the_passes_run():
    plan = sharded_plan()
    assert plan.fit_source("shards") == "results/d/prepared"
    assert plan.fit_source("whole") == f"results/d/designs/{plan.designs['whole']}"
    assert "--sharded" in shlex.split(plan.fit_options("shards"))
    assert "--sharded" not in shlex.split(plan.fit_options("whole"))
    assert (plan.fit_threads("shards"), plan.fit_threads("whole")) == (2, 1)
    assert plan.fit_place("shards", 2, 3000) == plan.dask_options(2, 3000)
    assert plan.fit_place("whole", 1, 3000) == "--threads=1"
    assert plan.diagnosed == ["whole"]


def test_what_cannot_be_sharded_is_said_before_anything_runs():
    with pytest.raises(
        ConfigError, match=r"models\.shards\.sharded: .*data\.d\.group .*`group: g`"
    ):
        sharded_plan(group=None)
    with pytest.raises(UnsupportedError, match=r"models\.shards\.sharded: .*2 grouping factors"):
        sharded_plan("y ~ x + (1 | g) + (1 | h)")


def test_the_words_of_the_configuration_are_those_of_the_library():
    for words, own in (
        (inference.Ddf, DfMethod),
        (inference.RobustKind, RobustKind),
        (inference.Adjustment, Adjustment),
        (inference.MeanContrast, ContrastMethod),
        (inference.MeanWeights, MeanWeights),
        (inference.Likelihood, Likelihood),
        (inference.IntervalMethod, IntervalMethod),
        (inference.Refit, Refit),
        (resampling.VarianceMethod, VarianceMethod),
        (resampling.BootstrapKind, BootstrapKind),
        (resampling.BootstrapInterval, BootstrapInterval),
    ):
        assert set(get_args(words)) == set(get_args(own))
    assert set(DDF_WORDS) == set(get_args(DfMethod))
    assert set(ADJUSTMENTS) == set(get_args(Adjustment))
    assert set(INTERVAL_WORDS) == set(get_args(BootstrapInterval))


ASKED = {
    "ddf": "kenward-roger",
    "contrasts": {"a, b": {"x": 1}, "joint": [{"x": 1}, {"(Intercept)": 2}]},
    "emmeans": [{"specs": "x", "at": {"x": [0, 1]}, "contrast": "pairwise"}],
    "robust": "CR2",
    "influence": "g",
    "intervals": {"method": "profile", "parameters": ["sigma"]},
    "random_tests": True,
    "variance_test": {"method": "exact", "terms": ["(1 | g)"]},
    "bootstrap": {"draws": 20, "kind": "group", "interval": "bca"},
    "caic": True,
}


def asking(asked):
    return plan_of(models={"m": {"data": "d", "formula": "y ~ x + (1 | g)", "infer": asked}})


def test_what_is_asked_of_a_fit_becomes_options_that_say_the_same():
    plan = asking(ASKED)
    given = [option.removeprefix("--") for option in shlex.split(plan.infer_options("m"))]
    assert given.pop() == "caic"
    assert given.pop(-3) == "random-tests"
    assert [option.partition("=")[0] for option in given] == [
        *("ddf", "level", "anova", "contrast", "contrast", "emmeans", "robust", "influence"),
        *("intervals", "variance-test", "bootstrap"),
    ]
    for key in ("variance_test", "bootstrap"):
        option = given[-2 if key == "variance_test" else -1]
        assert json.loads(option.split("=", 1)[1]) == ASKED[key]
    pairs = [option.split("=", 1) for option in given]
    assert dict(pairs)["intervals"] == '{"method": "profile", "parameters": ["sigma"]}'
    assert json.loads(dict(pairs)["emmeans"]) == ASKED["emmeans"][0]
    contrasts = [text.split("=", 1) for key, text in pairs if key == "contrast"]
    assert {name: json.loads(text) for name, text in contrasts} == ASKED["contrasts"]
    assert plan.inferred == ["m"]
    assert plan.infer_needs_rows("m")


def test_a_model_of_which_nothing_is_asked_has_no_such_step():
    plan = plan_of()
    assert plan.inferred == []
    assert plan.infer_options("full") == ""
    assert not asking({}).infer_needs_rows("m")
    assert asking({}).inferred == ["m"]


def test_rows_are_an_input_of_the_step_that_may_need_them():
    assert asking({"influence": "g"}).infer_needs_rows("m")
    assert not asking({"ddf": "kenward-roger"}).infer_needs_rows("m")
    model = {"data": "d", "formula": "y ~ x + (1 | g)", "residual": "ar1(t | g)"}
    plan = plan_of(models={"m": {**model, "infer": {"ddf": "kenward-roger"}}})
    assert plan.infer_needs_rows("m")


def test_a_variable_that_has_the_name_of_a_column_of_the_table_is_refused():
    model = {"data": "d", "formula": "y ~ p + (1 | g)", "infer": {"emmeans": [{"specs": "p"}]}}
    with pytest.raises(ConfigError, match="'p' is a column of the table of means by itself"):
        plan_of(models={"m": model})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"influence": "h"}, r"models\.m\.infer\.influence: 'h' is no grouping factor"),
        ({"emmeans": [{"specs": "a | x"}]}, r"infer\.emmeans\[1\]: 'a' is no variable"),
        ({"emmeans": [{"specs": "x", "trend": "z"}]}, "'z' is no variable of the fixed part"),
    ],
)
def test_names_that_the_formula_has_not_are_found_before_anything_runs(asked, message):
    with pytest.raises(ConfigError, match=message):
        asking(asked)
