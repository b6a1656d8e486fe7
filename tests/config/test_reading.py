"""A configuration is read as it is written, or one sentence says what is wrong with it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixedflow.config import check_config, config_text, load_config, parse_config, read_yaml
from mixedflow.config.dask import parse_memory
from mixedflow.errors import ConfigError

ROOT = Path(__file__).parents[2]

GOOD: dict[str, Any] = {
    "data": {"d": {"path": "d.csv"}},
    "models": {
        "m": {"data": "d", "formula": "y ~ x + (1 | g)"},
        "n": {"data": "d", "formula": "y ~ 1 + (1 | g)"},
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the good configuration with the value at a dotted path set."""
    content = copy.deepcopy(GOOD)
    here = content
    *parents, last = path.split(".")
    for part in parents:
        here = here.setdefault(part, {})
    here[last] = value
    return content


def compared(config) -> list[tuple[str, ...]]:
    """Return the names of every comparison."""
    return [comparison.models for comparison in config.comparisons()]


def test_the_shipped_configuration_is_valid():
    config = load_config(ROOT / "config/config.yaml")
    assert list(config.models) == ["slope", "independent"]
    assert compared(config) == [("slope", "independent")]
    assert config.data["sleepstudy"].types == {"Subject": "category"}


def test_defaults_are_those_of_the_manual():
    config = check_config(GOOD)
    model = config.models["m"]
    assert (model.reml, model.method, model.weights) == (True, "auto", None)
    assert config.output == "results"
    assert config.data["d"].missing == "drop"
    assert config.control.nonconverged == "report"


def test_models_of_one_data_set_are_compared_unless_told_otherwise():
    assert compared(check_config(GOOD)) == [("m", "n")]
    assert compared(check_config(changed("compare", [["n", "m"]]))) == [("n", "m")]
    assert compared(check_config(changed("compare", []))) == []
    content = changed("data.e", {"path": "e.csv"})
    content["models"]["n"]["data"] = "e"
    assert compared(check_config(content)) == []


def test_a_key_without_a_value_is_a_key_left_out():
    content = changed("models.m.weights", None)
    content["report"] = None
    assert check_config(content) == check_config(GOOD)


@pytest.mark.parametrize("name", ["..", ".x", "a/b", "", "a b", "é"])
def test_names_that_are_no_folders_are_refused(name):
    content = copy.deepcopy(GOOD)
    content["models"][name] = content["models"].pop("n")
    with pytest.raises(ConfigError, match="cannot be a folder name"):
        check_config(content)


def test_numbers_may_be_names():
    content = changed("data.d.levels", {"year": [2020, 2021]})
    content["models"][1] = content["models"].pop("n")
    assert list(check_config(content).models) == ["m", "1"]


BAD = [
    ("models.m.formla", "y ~ x", "'models.m' has no key 'formla'; did you mean 'formula'?"),
    ("modells", {}, "there is no key 'modells'; did you mean 'models'?"),
    ("data.d.pth", "x", "did you mean 'path'?"),
    ("models.m.formula", None, "models.m.formula is empty; it must be text"),
    ("models.m.formula", "", "models.m.formula is ''; it must be text that is not empty"),
    (
        "models.m.method",
        "newton",
        "models.m.method is 'newton'; allowed: 'auto', 'em', 'px-em', 'ai'",
    ),
    ("models.m.method", "pxem", "did you mean 'px-em'?"),
    ("models.m.reml", "yes", "models.m.reml is 'yes'; it must be true or false"),
    ("models.m.reml", 1, "it must be true or false"),
    ("models.m.title", 2024, "put it in quotes"),
    ("models.m.data", "e", "models.m.data is 'e', which is not a data set"),
    ("models.m", None, "models.m is empty; it must be a mapping"),
    ("models", {}, "models is empty; it needs at least one entry"),
    ("models", [1], "models is a list; it must be a mapping"),
    ("data", {}, "data is empty; it needs at least one entry"),
    ("data.d.types", {"g": "categry"}, "data.d.types.g is 'categry'; did you mean 'category'?"),
    ("data.d.levels", {"g": ["a", "a"]}, "column 'g' lists the level 'a' twice"),
    ("data.d.levels", {"g": []}, "column 'g' is given no level"),
    ("data.d.levels", {"g": "a"}, "data.d.levels.g is 'a'; it must be a list"),
    ("data.d.levels", {"g": [True]}, "data.d.levels.g[1] is true; it must be text"),
    ("data.d", {"path": "x", "types": {"g": "int"}, "levels": {"g": ["a"]}}, "not 'int'"),
    ("data.d.missing", "ignore", "data.d.missing is 'ignore'; allowed: 'drop', 'error'"),
    ("data.d.order", "time", "'order' sorts rows within 'group', which is not given"),
    ("data.d.partition_rows", 0, "data.d.partition_rows is 0; it must be at least 1"),
    ("data.d.partition_rows", 1.5, "data.d.partition_rows is 1.5; it must be a whole number"),
    ("data.a b", {"path": "x"}, "the data set name 'a b' cannot be a folder name"),
    ("data.models", {"path": "x"}, "the data set name 'models' is taken"),
    ("models.-m", {"data": "d", "formula": "y ~ 1"}, "the model name '-m' cannot be a folder name"),
    ("compare", "m", "compare is 'm'; it must be a list"),
    ("compare", ["m"], "compare[1] is 'm'; it must be a list"),
    ("compare", [["m", "k"]], "the comparison [m, k] names 'k', which is not a model"),
    ("compare", [["m"]], "needs at least two models"),
    ("compare", [["m", "m"]], "names a model twice"),
    (
        "compare",
        [{"models": ["m", "n"], "refit": "reml"}],
        "compare[1].refit is 'reml'; did you mean 'ml'?",
    ),
    ("compare", [{"refit": "ml"}], "compare[1] lacks the key 'models'"),
    ("compare", [{"models": ["m", "k"]}], "names 'k', which is not a model"),
    ("models.m.infer", 3, "models.m.infer is 3; it must be a mapping"),
    ("models.m.infer.ddf", "kenwardroger", "did you mean 'kenward-roger'?"),
    ("models.m.infer.dff", "residual", "'models.m.infer' has no key 'dff'; did you mean 'ddf'?"),
    ("models.m.infer.level", 95, "models.m.infer.level is 95; it must be less than 1"),
    ("models.m.infer.anova", 4, "models.m.infer.anova is 4; allowed: 3, 2, 1, 'none'"),
    ("models.m.infer.contrasts", {"c": {"x": "a"}}, "contrasts.c[1].x is 'a'; it must be a number"),
    ("models.m.infer.contrasts", {"c": {"x": 0}}, "'c' has weights of zero alone"),
    ("models.m.infer.contrasts", {"c": []}, "'c' has weights of zero alone"),
    ("models.m.infer.contrasts", {" ": {"x": 1}}, "a contrast has no name"),
    (
        "models.m.infer.emmeans",
        {"specs": "x"},
        "models.m.infer.emmeans is a mapping; it must be a list",
    ),
    ("models.m.infer.emmeans", [{"spec": "x"}], "did you mean 'specs'?"),
    ("models.m.infer.emmeans", [{"specs": "x", "contrast": "pair"}], "did you mean 'pairwise'?"),
    ("models.m.infer.emmeans", [{"specs": "x", "adjust": "holm"}], "'adjust' is for contrasts"),
    ("models.m.infer.robust", "CR4", "allowed: 'CR0', 'CR1', 'CR2', 'CR3'"),
    ("models.m.infer.intervals", {"method": "boot"}, "allowed: 'profile', 'wald'"),
    ("models.m.infer.random_tests", "yes", "it must be true or false"),
    ("models.m.infer.variance_test", {"method": "exat"}, "did you mean 'exact'?"),
    ("models.m.infer.bootstrap", {"draws": 3}, "it must be at least 10"),
    ("models.m.infer.bootstrap", {"nsim": 100}, "'models.m.infer.bootstrap' has no key 'nsim'"),
    ("models.m.infer.bootstrap", {"interval": "bca"}, "which is for groups that are drawn again"),
    ("models.m.infer.bootstrap", {"factor": "g"}, "'kind' is 'parametric'"),
    (
        "models.m",
        {**GOOD["models"]["m"], "reml": False, "infer": {"ddf": "kenward-roger"}},
        "models.m: infer.ddf is 'kenward-roger', which is for REML, and 'reml' is false",
    ),
    (
        "models.m",
        {**GOOD["models"]["m"], "sharded": True, "infer": {}},
        "models.m: infer.ddf is 'satterthwaite', which needs the sums of the groups",
    ),
    (
        "models.m",
        {**GOOD["models"]["m"], "sharded": True, "infer": {"ddf": "residual", "robust": "CR2"}},
        "models.m: infer.robust needs the sums of the groups",
    ),
    (
        "models.m",
        {**GOOD["models"]["m"], "sharded": True, "infer": {"ddf": "residual", "bootstrap": {}}},
        "models.m: infer.bootstrap needs the sums of the groups",
    ),
    ("output", 5, "output is 5; it must be text"),
    ("dask.kind", "slurm", "dask.kind is 'slurm'; allowed: 'synchronous', 'threads'"),
    ("dask.workers", 0, "dask.workers is 0; it must be at least 1"),
    ("dask.memory", "much", "'much' is not an amount of memory"),
    ("dask.memory", "0 GB", "is no memory at all"),
    ("dask.kind", "address", "needs either 'address' or 'scheduler_file'"),
    ("dask.address", "tcp://x:1", "'address' is for kind 'address' only"),
    ("control.tolerance", 0, "control.tolerance is 0; it must be greater than 0"),
    ("control.tolerance", 2.0, "it must be less than 1"),
    ("control.max_iter", -1, "control.max_iter is -1; it must be at least 1"),
    ("control.nonconverged", "ignore", "allowed: 'report', 'error'"),
    ("report.titel", "x", "'report' has no key 'titel'; did you mean 'title'?"),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD)
def test_a_fault_is_one_sentence_with_file_and_key(path, value, message):
    with pytest.raises(ConfigError) as caught:
        check_config(changed(path, value), "my.yaml")
    text = str(caught.value)
    assert text.startswith("my.yaml: ")
    assert message in text
    assert "\n" not in text


def test_a_required_key_that_is_left_out_is_named():
    content = copy.deepcopy(GOOD)
    del content["models"]["m"]["formula"]
    with pytest.raises(ConfigError, match=r"models\.m lacks the key 'formula'"):
        check_config(content)
    with pytest.raises(ConfigError, match="the file lacks the key 'data'"):
        check_config({"models": GOOD["models"]})


def test_several_faults_are_counted():
    content = changed("models.m.method", "x")
    content["models"]["n"]["method"] = "y"
    with pytest.raises(ConfigError, match=r"\(and 1 more\)"):
        check_config(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; it needs the keys 'data' and 'models'"),
        ("- a\n- b\n", "holds a list; it must be a mapping"),
        ("just words\n", "holds 'just words'; it must be a mapping"),
        ("data:\n  d: {path: x\nmodels: 3\n", "line 3"),
        (
            "data:\n  d:\n    path: x\n  d:\n    path: y\n",
            "line 4, column 3: the key 'd' stands twice",
        ),
        ("data: {}\ndata: {}\n", "first in line 1"),
        ("no: 3\n", "YAML reads the key 'False' as bool; put it in quotes"),
        ("a: *b\n", "undefined alias"),
        ("a: !!python/object:os.system {}\n", "could not determine a constructor"),
    ],
)
def test_faults_of_the_file(tmp_path, text, message):
    file = tmp_path / "config.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_merge_keys_and_anchors_work(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\n", encoding="utf-8")
    assert read_yaml(file)["b"] == {"p": 1, "q": 3}


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="there is no configuration file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match="not a UTF-8 text file"):
        load_config(binary)


def test_the_text_of_a_configuration_reads_back_and_leaves_dask_out():
    config = check_config(changed("dask.workers", 3))
    again = parse_config(config_text(config), "text")
    assert again == check_config(GOOD)


@pytest.mark.parametrize(("text", "size"), [("2 GB", 2 * 10**9), ("1.5MiB", 1572864), ("7 b", 7)])
def test_amounts_of_memory(text, size):
    assert parse_memory(text) == size


ASKED: dict[str, Any] = {
    "ddf": "residual",
    "contrasts": {"c": {"x": 1}, "joint": [{"x": 1}, {"(Intercept)": 1}]},
    "emmeans": [{"specs": "x", "at": {"x": [0, 1]}}, {"specs": ["x", "z"]}],
    "intervals": {"method": "wald"},
}


def test_what_is_asked_of_a_fit_is_shown_as_it_was_written():
    content = changed("models.m.infer", ASKED)
    content["compare"] = [["m", "n"], {"models": ["n", "m"], "refit": "ml"}]
    config = check_config(content)
    assert yaml.safe_load(config_text(config)) == content
    assert check_config(yaml.safe_load(config_text(config))) == config
    assert [comparison.refit for comparison in config.comparisons()] == [None, "ml"]


def test_the_solver_that_estimates_gives_no_degrees_of_freedom():
    content = changed("control.solver", "pcg")
    check_config(content)
    content["models"]["m"]["infer"] = {}
    with pytest.raises(ConfigError, match=r"models\.m\.infer\.ddf is 'satterthwaite'"):
        check_config(content)
    content["models"]["m"]["infer"] = {"ddf": "asymptotic"}
    check_config(content)


def test_a_sharded_model_is_not_fitted_again_for_a_comparison():
    content = changed("compare", [{"models": ["m", "n"], "refit": "ml"}])
    content["models"]["n"]["sharded"] = True
    with pytest.raises(ConfigError, match="'n' is sharded"):
        check_config(content)
    content["models"]["n"]["reml"] = False
    check_config(content)
