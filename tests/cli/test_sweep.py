"""``mixedflow sweep plan``, ``run`` and ``gather``: what is stored is not fitted again."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.cli import invoke
from mixedflow.config import check_config
from mixedflow.config.plan import make_plan
from mixedflow.steps.sweep_jobs import made_jobs

MODELS = {"base": "~ 1 + (1 | g)", "full": "~ x + (1 | g)"}
TRAITS = [f"t{k}" for k in range(5)]


def rows() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    g, x = rng.integers(12, size=90), rng.normal(size=90)
    columns = {t: rng.normal(size=12)[g] + rng.normal(size=90) for t in TRAITS}
    frame = pd.DataFrame({"g": [f"g{k}" for k in g], "x": x, "s": np.where(x > 0, "a", "b")})
    return frame.assign(**columns)


def planned(folder="out") -> list[dict]:
    return json.loads(Path(folder, "plan.json").read_text(encoding="utf-8"))["jobs"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows().to_csv("d.csv", index=False)
    return tmp_path


PLAN = ["sweep", "plan", "d.csv", "--out=out", "--trait=t*", "--traits-per-job=2"]
PLAN += [f"--model={name}={formula}" for name, formula in MODELS.items()]


def test_jobs_are_run_and_gathered(place, capsys):
    assert invoke([*PLAN, "--test=x=base,full", '--subset=a={"s": ["a"]}', "--subset=all={}"]) == 0
    assert "5 traits, of which 0 are stored and 5 are left, in 3 jobs" in capsys.readouterr().err
    for job in planned():
        assert invoke(["sweep", "run", "out", job["key"]]) == 0
        assert (place / f"out/jobs/{job['key']}.json").is_file()
    before = {path: path.stat().st_mtime_ns for path in (place / "out/parts").iterdir()}
    assert invoke(["sweep", "run", "out", planned()[0]["key"]]) == 0
    assert invoke(["sweep", "gather", "out"]) == 0
    assert {path: path.stat().st_mtime_ns for path in (place / "out/parts").iterdir()} == before
    subsets = {"a": {"s": ["a"]}, "all": None}
    wanted = mf.sweep(MODELS, rows(), "t*", tests={"x": ("base", "full")}, subsets=subsets)
    found = mf.load_sweep("out")
    for one, other in ((found.table, wanted.table), (found.tests, wanted.tests)):
        own = [name for name in other.columns if name != "seconds"]
        pd.testing.assert_frame_equal(one[own], other[own], rtol=1e-9, atol=1e-12)


def test_what_is_stored_is_not_planned_again(place):
    assert invoke([*PLAN, "--trait=t0"]) == 0
    first = planned()[0]
    assert invoke(["sweep", "run", "out", first["key"]]) == 0
    assert invoke(PLAN) == 0
    left = [name for job in planned() for name in job["traits"]]
    assert left == [name for name in TRAITS if name not in first["traits"]]
    assert not list((place / "out/jobs").iterdir()), (
        "a note of an earlier plan says nothing of this"
    )
    assert invoke(["sweep", "gather", "out"]) == 0
    assert list(mf.load_sweep("out").table["trait"].unique()) == TRAITS
    assert invoke(PLAN) == 0
    assert planned() == []


def test_traits_may_be_named_in_a_file(place, capsys):
    (place / "names.txt").write_text("t3\nt1\n", encoding="utf-8")
    asked = [word for word in PLAN if not word.startswith("--trait=")]
    assert invoke([*asked, "--trait=@names.txt", "--trait=t0"]) == 0
    assert [name for job in planned() for name in job["traits"]] == ["t3", "t1", "t0"]
    assert invoke([*asked, "--trait=@nowhere.txt"]) == 2
    assert "nowhere.txt" in capsys.readouterr().err.strip().splitlines()[-1]
    sweep = {"data": "d", "traits": ["@names.txt", "t0"], "models": MODELS}
    content = {"data": {"d": {"path": "d.csv"}}, "sweep": {"s": sweep}}
    assert make_plan(check_config(content)).sweep_files("s") == ["names.txt"]
    (place / "c.yaml").write_text(json.dumps(content), encoding="utf-8")
    assert invoke(["check", "-c", "c.yaml"]) == 0
    assert "3: t3, t1, t0" in capsys.readouterr().out


def test_a_plan_of_other_predictors_is_refused(place, capsys):
    assert invoke(PLAN) == 0
    rows().assign(x=0.5 * rows()["x"] ** 2).to_csv("d.csv", index=False)
    assert invoke(["sweep", "run", "out", planned()[0]["key"]]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "have changed since the sweep was planned" in said
    assert "mixedflow sweep plan" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "run", "out", "1234"], "the plan has no job '1234'"),
        (["sweep", "gather", "nowhere"], "no sweep's plan at 'nowhere'"),
        ([*PLAN, "--test=x=base"], "tests.x must name two models"),
        ([*PLAN, "--subset=women"], "--subset 'women' is not of the form NAME=VALUE"),
        ([*PLAN, "--matrix=m.npy"], "--matrix and --matrix-names go together"),
        ([*PLAN, "--residual=ful=cs(1 | g)"], "the model 'ful'"),
        ([*PLAN, "--ddf=satterthwait"], "did you mean 'satterthwaite'?"),
        (["report"], "a report needs the folder of a model, of a sweep"),
    ],
)
def test_a_wrong_command_is_one_sentence(place, capsys, arguments, message):
    if arguments[:2] == ["sweep", "run"]:
        assert invoke(PLAN) == 0
        capsys.readouterr()
    assert invoke(arguments) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_the_options_of_the_workflow_say_what_the_configuration_says(place):
    sweep = {
        "data": "d",
        "traits": ["t1", "re:^t[2-4]$"],
        "models": {"m": MODELS["full"], "r": {"formula": "~ x", "residual": "cs(1 | g)"}},
        "subsets": {"all": None, "some": {"s": ["a", "b"]}},
        "tests": {"x": ["r", "m"]},
        "weights": None,
        "reml": False,
        "ddf": "residual",
        "q": "storey",
        "traits_per_job": 1,
    }
    settings = check_config({"data": {"d": {"path": "d.csv"}}, "sweep": {"s": sweep}})
    plan = make_plan(settings)
    assert plan.sweep_files("s") == []
    assert (
        invoke(["sweep", "plan", "d.csv", *shlex.split(plan.sweep_options("s")), "-o", "out"]) == 0
    )
    stored = json.loads((place / "out/plan.json").read_text(encoding="utf-8"))["sweep"]
    asked = settings.sweep["s"].model_dump(mode="json", exclude_unset=True)
    assert {**asked, "data": "data"} == {key: stored[key] for key in asked}
    assert len(planned()) == 4


def test_jobs_are_about_equal():
    def lots(traits, size):
        return [job.traits for job in made_jobs(traits, size, ("k",))]

    assert lots("abcde", 2) == [("a", "b"), ("c", "d"), ("e",)]
    assert lots("abcdefg", 4) == [("a", "b", "c", "d"), ("e", "f", "g")]
    assert lots("", 2) == []
    one, two = made_jobs("a", 1, ("k",)), made_jobs("a", 1, ("other",))
    assert one[0].key != two[0].key
