"""Every verb does its step, in the order of the workflow, and refuses what it must."""

from __future__ import annotations

import json
from pathlib import Path

import helpers
import pytest

import mixedflow as mf
from mixedflow.cli import invoke
from mixedflow.config import load_config

ROOT = Path(__file__).parents[2]
DATA = ROOT / "config/data/sleepstudy.csv"
FORMULA = "Reaction ~ Days + (Days | Subject)"
INDEPENDENT = "Reaction ~ Days + (Days || Subject)"


def run(*arguments: object) -> None:
    assert invoke([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """Run the five steps by hand."""
    place = tmp_path_factory.mktemp("steps")
    prepared, design = place / "sleep/prepared", place / "sleep/designs/d"
    run("prepare", DATA, "--out", prepared, "--type", "Subject=category", "--partition-rows", 50)
    run("condense", prepared, FORMULA, "--out", design)
    for name, formula in {"slope": FORMULA, "independent": INDEPENDENT}.items():
        run("fit", design, formula, "--out", place / "models" / name / "fit", "--quiet")
        model = place / "models" / name
        run("diagnose", model / "fit", prepared, "--out", model / "diagnostics")
    run("report", place / "models/slope", place / "models/independent", "-o", place / "r.html")
    return place


def test_the_steps_end_at_the_fit_of_the_api(steps):
    for name, formula in {"slope": FORMULA, "independent": INDEPENDENT}.items():
        stored = mf.load(steps / "models" / name / "fit")
        direct = mf.fit(formula, DATA)
        assert stored.loglik == pytest.approx(direct.loglik, abs=1e-8)
        assert stored.fixef.to_numpy() == pytest.approx(direct.fixef.to_numpy(), rel=1e-9)


def test_the_page_compares_the_models(steps):
    text = (steps / "r.html").read_text(encoding="utf-8")
    assert FORMULA in text
    assert "independent" in text


def test_pieces_of_unchanged_partitions_are_reused(steps, tmp_path):
    prepared, design = tmp_path / "prepared", tmp_path / "design"
    table = tmp_path / "sleep.csv"
    table.write_bytes(DATA.read_bytes())
    run("prepare", table, "--out", prepared, "--partition-rows", 50)
    run("condense", prepared, FORMULA, "--out", design)
    pieces = {path: path.stat().st_mtime_ns for path in (design / "pieces").rglob("*.npz")}
    assert len(pieces) > 1
    run("condense", prepared, FORMULA, "--out", design)
    assert pieces == {path: path.stat().st_mtime_ns for path in (design / "pieces").rglob("*.npz")}


def test_show_prints_a_stored_fit(steps, capsys):
    run("show", steps / "models/slope/fit")
    text = capsys.readouterr().out
    assert "-871.8141" in text
    assert "sleepstudy.csv" in text


def test_fit_reads_data_directly_and_prints(capsys):
    run("fit", DATA, FORMULA, "--ml", "--method", "em")
    assert "-875.9697" in capsys.readouterr().out


def test_a_design_that_turns_out_to_differ_gets_a_pass_of_its_own(tmp_path):
    """A category codes ``(c | g)`` and ``(c || g)`` differently, which formulas alone do not tell."""
    rows = [f"{(i * 7) % 11 + i % 3},{'uv'[i % 2]},g{i % 6}" for i in range(60)]
    (tmp_path / "t.csv").write_text("y,c,g\n" + "\n".join(rows) + "\n", encoding="utf-8")
    run("condense", tmp_path / "t.csv", "y ~ 1 + (c | g)", "--out", tmp_path / "design")
    formula = "y ~ 1 + (c || g)"
    run("fit", tmp_path / "design", formula, "--out", tmp_path / "fit", "-q")
    direct = mf.fit(formula, tmp_path / "t.csv")
    assert mf.load(tmp_path / "fit").loglik == pytest.approx(direct.loglik, abs=1e-6)


def test_a_fit_that_does_not_converge_is_written_and_exits_with_3(tmp_path, capsys):
    fit = ["fit", str(DATA), FORMULA, "--max-iter", "1", "--out", str(tmp_path / "fit")]
    assert invoke(fit) == 3
    captured = capsys.readouterr()
    assert "NOT CONVERGED" in captured.out
    assert "error: the fit did not converge in 1 iterations" in captured.err
    assert not mf.load(tmp_path / "fit").converged
    assert invoke([*fit, "--allow-nonconverged"]) == 0


def test_init_writes_a_configuration_that_check_accepts(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("init", DATA, FORMULA)
    config = load_config("config/config.yaml")
    assert config.models["model"].formula == FORMULA
    assert config.data["sleepstudy"].types == {"Subject": "category"}
    run("check")
    text = capsys.readouterr().out
    for part in ("180 of 180", "18 levels", "grouped", "(Intercept), Days", "memory", "time"):
        assert part in text


def test_init_does_not_overwrite(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("init", DATA, FORMULA)
    assert invoke(["init", str(DATA), INDEPENDENT]) == 2
    assert "exists already; --force overwrites it" in capsys.readouterr().err
    run("init", DATA, INDEPENDENT, "--force")
    assert load_config("config/config.yaml").models["model"].formula == INDEPENDENT


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Days | Subject", "Day | Subject", "did you mean 'Days'?"),
        ("sleepstudy.csv", "sleepstudi.csv", "does not exist; did you mean 'sleepstudy.csv'?"),
        ("Days || Subject", "Days || Days) + (1 | Reaction", "models.independent"),
        ("Subject: category", "Subjekt: category", "Subjekt"),
        ("Days: d", "Tage: d", "data.sleepstudy.units"),
        ("    units:", "    group: Subjekt\n    units:", "did you mean 'Subject'?"),
    ],
)
def test_check_finds_what_does_not_fit(tmp_path, capsys, old, new, message):
    text = (ROOT / "config/config.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "c.yaml").write_text(text.replace(old, new), encoding="utf-8")
    assert invoke(["check", "-c", str(tmp_path / "c.yaml"), "-d", str(ROOT)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert message in line


def test_check_plans_crossed_factors_by_the_levels_that_meet(tmp_path, capsys):
    rows = [f"{(i * 13) % 17},{i % 5},{(i * 3) % 7}" for i in range(105)]
    (tmp_path / "t.csv").write_text("y,a,b\n" + "\n".join(rows) + "\n", encoding="utf-8")
    config = {
        "data": {"t": {"path": str(tmp_path / "t.csv")}},
        "models": {
            "m": {"data": "t", "formula": "y ~ 1 + (1 | a) + (1 | b)"},
            "n": {"data": "t", "formula": "y ~ 1 + (1 | b) + (1 | a)", "reml": False},
        },
    }
    (tmp_path / "c.json").write_text(json.dumps(config), encoding="utf-8")
    run("check", "-c", tmp_path / "c.json")
    text = capsys.readouterr().out
    assert "5 levels" in text
    assert "7 levels" in text


def test_check_warns_of_sums_that_memory_will_not_hold(tmp_path, capsys, monkeypatch):
    """Fixed columns known by level codes cost nothing a row, but their sums with every group do."""
    rows = [f"{(i * 13) % 17},f{i % 60},{i % 90}" for i in range(720)]
    (tmp_path / "t.csv").write_text("y,f,g\n" + "\n".join(rows) + "\n", encoding="utf-8")
    config = {
        "data": {"t": {"path": str(tmp_path / "t.csv")}},
        "models": {"m": {"data": "t", "formula": "y ~ f + (1 | g)"}},
    }
    (tmp_path / "c.json").write_text(json.dumps(config), encoding="utf-8")
    monkeypatch.setenv("COLUMNS", "500")
    run("check", "-c", tmp_path / "c.json")
    text = capsys.readouterr().out
    assert "f[T.f1]" in text
    assert "and 20 more" in text
    assert "warning" not in text
    monkeypatch.setattr("mixedflow.steps.check.machine_memory", lambda: 1e8)
    run("check", "-c", tmp_path / "c.json")
    text = capsys.readouterr().out
    assert "this machine has 100 MB" in text
    assert "90 levels of 'g' by 1 columns by 60 fixed columns; let the category" in text


def test_damaged_designs_are_refused(steps, tmp_path, capsys):
    import shutil

    design = tmp_path / "design"
    shutil.copytree(steps / "sleep/designs/d", design)
    manifest = json.loads((design / "manifest.json").read_text())
    (design / "manifest.json").write_text(helpers.sealed(manifest | {"rows_used": 7}))
    assert invoke(["fit", str(design), FORMULA]) == 2
    assert "condense the data again" in capsys.readouterr().err
    (design / "manifest.json").write_text(helpers.sealed(manifest | {"format_version": 99}))
    assert invoke(["fit", str(design), FORMULA]) == 2
    assert "format version 99" in capsys.readouterr().err
    (design / "manifest.json").write_text(helpers.sealed(manifest))
    (design / "crossproducts/arrays.npz").unlink()
    assert invoke(["fit", str(design), FORMULA]) == 2
    assert "arrays.npz" in capsys.readouterr().err


def test_report_reads_its_configuration_and_refuses_strangers(steps, tmp_path, capsys):
    config = ROOT / "config/config.yaml"
    run(
        "report",
        steps / "models/slope",
        "-c",
        config,
        "-o",
        tmp_path / "r.html",
        "--author",
        "A. B.",
    )
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Reaction times under sleep restriction" in text
    assert "A. B." in text
    other = tmp_path / "stranger"
    (other / "fit").mkdir(parents=True)
    assert invoke(["report", str(other), "-c", str(config), "-o", str(tmp_path / "x.html")]) == 2
    assert invoke(["report", str(tmp_path / "none"), "-o", str(tmp_path / "x.html")]) == 2
    assert "holds no fit" in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


def test_a_scheduler_file_is_read(tmp_path, capsys):
    prepare = ["prepare", str(DATA), "-o", str(tmp_path / "p"), "--dask", "address"]
    assert invoke([*prepare, "--scheduler-file", str(tmp_path / "none.json")]) == 2
    assert "scheduler file" in capsys.readouterr().err
    (tmp_path / "s.json").write_text("{}")
    assert invoke([*prepare, "--scheduler-file", str(tmp_path / "s.json")]) == 2
    assert "names no address" in capsys.readouterr().err
