"""``mixedflow infer``: what is asked of a stored fit becomes tables, or one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.cli import invoke
from mixedflow.results.inferred import load_inferred

ROOT = Path(__file__).parents[2]
DATA = ROOT / "config/data/sleepstudy.csv"
FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the folder of a model with its fit, by its prepared data."""
    place = tmp_path_factory.mktemp("infer")
    prepared, model = place / "sleep/prepared", place / "models/slope"
    for words in (
        ["prepare", DATA, "--out", prepared, "--type", "Subject=category"],
        ["fit", prepared, FORMULA, "--out", model / "fit", "--quiet"],
    ):
        assert invoke([str(word) for word in words]) == 0
    return model


def infer(model: Path, out: Path, *options: object):
    words = ["infer", model / "fit", "--out", out, *options]
    assert invoke([str(word) for word in words]) == 0
    return load_inferred(out)


def table(found, key: str) -> pd.DataFrame:
    (one,) = [one for one in found.tables if one.key == key]
    assert not one.note, one.note
    return one.table


def test_tables_are_those_of_the_fit(model, tmp_path):
    found = infer(
        model,
        tmp_path / "out",
        "--ddf=kenward-roger",
        "--level=0.9",
        "--contrast=a week={Days: 7}",
        '--contrast=both=[{"Days": 1}, {"(Intercept)": 1}]',
        "--emmeans={specs: Days, at: {Days: [0, 9]}, contrast: pairwise}",
        "--emmeans={specs: '1', trend: Days}",
        "--intervals=profile",
        "--random-tests",
    )
    fit = mf.load(model / "fit")
    inference = fit.infer("kenward-roger", level=0.9)

    def same(key: str, expected: pd.DataFrame) -> None:
        shown = table(found, key)[list(expected.columns)]
        expected = expected.reset_index(drop=True)
        pd.testing.assert_frame_equal(shown, expected, check_dtype=False, rtol=1e-12)

    same("coefficients", inference.coef_table)
    same("anova", inference.anova())
    same("contrasts", inference.contrast({"Days": 7}))
    same("joint_contrasts", inference.contrast([[0, 1], [1, 0]]))
    means = inference.emmeans("Days", at={"Days": [0, 9]})
    same("emmeans_1", means.table)
    same("emmeans_1_contrasts", means.pairs())
    same("emmeans_2", inference.emtrends("1", "Days").table)
    same("intervals", fit.confint(0.9))
    same("profiles", fit.profile())
    same("random_tests", fit.drop_random())
    assert table(found, "contrasts")["contrast"].tolist() == ["a week"]
    assert "Kenward and Roger" in found.ddf


def test_what_is_fitted_again(model, tmp_path):
    found = infer(
        model,
        tmp_path / "out",
        "--anova=none",
        "--variance-test=auto",
        "--bootstrap={draws: 40, seed: 5, interval: basic}",
        "--caic",
    )
    fit = mf.load(model / "fit")
    tests = table(found, "variance_test")
    assert tests["p"].tolist() == pytest.approx(fit.variance_test()["p"].tolist())
    assert tests["weights"].tolist() == ["0, 0.5, 0.5"]
    assert tests["method"].tolist() == ["mixture"]
    drawn, direct = table(found, "bootstrap").set_index("parameter"), fit.bootstrap(40, seed=5)
    wanted = direct.confint(method="basic")
    assert drawn["upper"].to_numpy() == pytest.approx(wanted["upper"].to_numpy(), rel=1e-12)
    assert drawn["bias"].to_numpy() == pytest.approx(direct.bias.to_numpy(), rel=1e-12)
    assert (drawn["draws"] == 40).all()
    assert table(found, "caic").set_index("measure")["value"]["caic"] == pytest.approx(
        fit.caic["caic"]
    )
    assert invoke(["report", str(model), "-o", str(tmp_path / "r.html")]) == 0


def test_groups_are_drawn_from_the_rows(model, tmp_path):
    rows = model.parents[1] / "sleep/prepared"
    asked = "--bootstrap={draws: 20, kind: group, interval: bca}"
    shown = table(infer(model, tmp_path / "a", asked, "--data", rows), "bootstrap")
    direct = mf.fit(FORMULA, DATA).bootstrap(20, kind="group", jackknife=True)
    wanted = direct.confint(method="bca")["lower"].to_numpy()
    assert shown["lower"].to_numpy() == pytest.approx(wanted, rel=1e-3, abs=1e-3)


def test_what_cannot_be_dropped_or_drawn_is_refused(model, tmp_path, capsys):
    words = ["infer", str(model / "fit"), "--out", str(tmp_path / "o")]
    wrong = "--variance-test={terms: ['Dayz in (1 + Days | Subject)']}"
    assert invoke([*words, wrong]) == 2
    said = capsys.readouterr().err
    assert "did you mean 'Days in (1 + Days | Subject)'" in said
    assert invoke([*words, "--bootstrap={kind: group, factor: subject}"]) == 2
    assert "did you mean 'Subject'" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_rows_are_read_where_the_sums_do_not_tell(model, tmp_path):
    rows = model.parents[1] / "sleep/prepared"
    options = ["--robust=CR2", "--influence=Subject", "--contrast=slope={Days: 1}"]
    found = infer(model, tmp_path / "out", "--data", rows, *options)
    direct = mf.fit(FORMULA, DATA)
    robust = direct.infer(vcov="CR2").coef_table
    shown = table(found, "robust")
    assert shown["se"].to_numpy() == pytest.approx(robust["se"].to_numpy(), rel=1e-6)
    assert table(found, "robust_contrasts")["se"][0] == pytest.approx(
        robust["se"]["Days"], rel=1e-6
    )
    pulls = direct.influence("Subject")
    shown = table(found, "influence_1").set_index("Subject")
    assert shown["cook"].to_numpy() == pytest.approx(pulls["cook"].to_numpy(), rel=1e-6)


def test_a_fit_that_did_not_converge_gets_a_statement(tmp_path, capsys):
    fit = ["fit", str(DATA), FORMULA, "--max-iter", "1", "--out", str(tmp_path / "m/fit")]
    assert invoke([*fit, "--allow-nonconverged", "-q"]) == 0
    found = infer(tmp_path / "m", tmp_path / "m/inference")
    assert found.tables == ()
    assert found.statement.startswith("The fit did not converge")
    assert "warning: The fit did not converge" in capsys.readouterr().err
    assert invoke(["report", str(tmp_path / "m"), "-o", str(tmp_path / "r.html")]) == 0
    assert found.statement in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_what_a_fit_cannot_have_is_a_note(tmp_path):
    """One crossed pair of factors has no independent groups, and its other tests all the same."""
    rows = [f"{(i * 7) % 11 + i % 3},{i % 5},a{i % 6},b{i % 4}" for i in range(60)]
    (tmp_path / "t.csv").write_text("y,x,a,b\n" + "\n".join(rows) + "\n", encoding="utf-8")
    mf.fit("y ~ x + (1 | a) + (1 | b)", tmp_path / "t.csv").save(tmp_path / "m/fit")
    found = infer(tmp_path / "m", tmp_path / "out", "--robust=CR2", "--data", tmp_path / "t.csv")
    (robust,) = found.of_kind("robust")
    assert "are crossed" in robust.note
    assert not table(found, "coefficients").empty


def test_the_configuration_says_what_is_asked(model, tmp_path):
    text = (ROOT / "config/config.yaml").read_text(encoding="utf-8")
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    found = infer(model, tmp_path / "out", "--config", tmp_path / "c.yaml")
    assert {"contrasts", "intervals", "random_tests"} <= {one.key for one in found.tables}
    content = json.loads((tmp_path / "out/infer.json").read_text(encoding="utf-8"))
    assert content["settings"]["intervals"]["method"] == "profile"


def test_the_page_refuses_tests_of_another_fit(model, tmp_path, capsys):
    infer(model, tmp_path / "m/inference")
    mf.fit("Reaction ~ Days + (1 | Subject)", DATA).save(tmp_path / "m/fit")
    assert invoke(["report", str(tmp_path / "m"), "-o", str(tmp_path / "r.html")]) == 2
    assert "is of another fit" in capsys.readouterr().err


FAULTS = [
    (["--ddf=kenwardroger"], "did you mean 'kenward-roger'?"),
    (
        ["--contrast=late={Dayz: 1}"],
        "contrasts.late: 'Dayz' is no coefficient; did you mean 'Days'?",
    ),
    (["--contrast=late"], "--contrast 'late' is not of the form NAME=VALUE"),
    (["--contrast=late=[Days"], "write it like 'rise={Days: 1}'"),
    (["--contrast=late={Days: 0}"], "weights of zero alone"),
    (["--contrast=late={Days: much}"], "it must be a number"),
    (["--anova=4"], "is 4; allowed: 3, 2, 1, 'none'"),
    (["--level=95"], "must be less than 1"),
    (["--emmeans=day"], "emmeans[1]: 'day' is no variable of the fixed part; did you mean 'Days'?"),
    (["--emmeans={specs: Days, contrast: pairs}"], "'pairs'"),
    (["--emmeans={specs: Days, adjust: tukey}"], "'adjust' is for contrasts"),
    (["--influence=Subjekt"], "'Subjekt' is no grouping factor; did you mean 'Subject'?"),
    (["--robust=CR9"], "allowed: 'CR0', 'CR1', 'CR2', 'CR3'"),
    (["--intervals=profil"], "did you mean 'profile'?"),
    (["--intervals={parameters: [sigmaa]}"], "sigmaa"),
    (["--model=slope"], "--config, which is not given"),
    (["--config", ROOT / "config/config.yaml", "--ddf=residual"], "cannot go together"),
    (["--config", ROOT / "config/config.yaml", "--model=slop"], "did you mean 'slope'?"),
    (["--config", ROOT / "config/config.yaml", "--model=independent"], "has no key 'infer'"),
    (["--robust=CR2", "--data", ROOT / "tests/references/data/Dyestuff2.csv"], "Reaction"),
]


@pytest.mark.parametrize(("options", "message"), FAULTS)
def test_a_fault_is_one_sentence_and_leaves_nothing(model, tmp_path, capsys, options, message):
    words = ["infer", model / "fit", "--out", tmp_path / "out", *options]
    assert invoke([str(word) for word in words]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "out").exists()
