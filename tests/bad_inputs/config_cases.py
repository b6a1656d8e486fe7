"""Configuration files that are wrong."""

from __future__ import annotations

from pathlib import Path

from bad_inputs.cases import FORMULA, Case, csv

from mixedflow.config import load_config
from mixedflow.errors import (
    ConfigError,
    MixedflowError,
)

GOOD = f"""\
data:
  trial:
    path: data.csv
models:
  one:
    data: trial
    formula: {FORMULA}
"""


def config(
    name: str,
    shown: str,
    error: type[MixedflowError],
    *says: str,
    until: str = "",
    text: str | bytes = "",
    read: bool = True,
    verb: str = "check",
) -> Case:
    """Return a case that reads a configuration file, and runs a verb with it."""
    return Case(
        name,
        shown,
        error,
        says,
        files={"config.yaml": text, "data.csv": csv()},
        call=(lambda: load_config("config.yaml")) if read else None,
        command=(verb, "--config", "config.yaml"),
        until=until,
    )


def line(found: str, instead: str) -> str:
    """Return the good configuration with a piece of it replaced."""
    assert found in GOOD
    return GOOD.replace(found, instead)


def _folder(place: Path) -> None:
    (place / "config.yaml").mkdir()


def _unreadable(place: Path) -> None:
    (place / "data.csv").write_text(csv(), encoding="utf-8")
    (place / "config.yaml").symlink_to("nowhere.yaml")


CONFIG = [
    Case(
        "no file",
        "there is no config.yaml",
        ConfigError,
        (
            "'config.yaml'",
            "mixedflow init",
        ),
        call=lambda: load_config("config.yaml"),
        command=("run", "--config", "config.yaml"),
    ),
    Case(
        "a folder",
        "config.yaml is a folder",
        ConfigError,
        (
            "config.yaml",
            "cannot be read",
        ),
        prepare=_folder,
        call=lambda: load_config("config.yaml"),
        command=("run", "--config", "config.yaml"),
    ),
    Case(
        "a link to nothing",
        "config.yaml points to a file that is gone",
        ConfigError,
        ("no configuration file",),
        prepare=_unreadable,
        call=lambda: load_config("config.yaml"),
        command=("check", "--config", "config.yaml"),
    ),
    config("empty", "an empty file", ConfigError, "'data' and 'models'", text="", verb="run"),
    config(
        "not UTF-8",
        "a Latin-1 file",
        ConfigError,
        "UTF-8",
        "byte 8",
        text=GOOD.replace("trial", "\xe9").encode("latin-1"),
        verb="run",
    ),
    config("a list", "- data", ConfigError, "a list", "mapping", text="- data\n- models\n"),
    config(
        "bad YAML",
        "path: [data.csv",
        ConfigError,
        "line 4",
        until="column",
        text=line("data.csv", "[data.csv"),
        verb="run",
    ),
    config(
        "tab in YAML",
        "a tab before path:",
        ConfigError,
        "line 3",
        until="column",
        text=line("    path", "\tpath"),
    ),
    config(
        "key twice",
        "data: stands twice",
        ConfigError,
        "line 8",
        "'data'",
        "line 1",
        text=GOOD + "data: {}\n",
    ),
    config(
        "unknown key",
        "modles:",
        ConfigError,
        "'modles'",
        "did you mean 'models'?",
        text=line("models:", "modles:"),
        verb="run",
    ),
    config(
        "unknown key in a section",
        "fromula:",
        ConfigError,
        "'models.one'",
        "'fromula'",
        "did you mean 'formula'?",
        text=line("formula:", "fromula:"),
    ),
    config(
        "missing key",
        "no formula",
        ConfigError,
        "models.one",
        "'formula'",
        text=line(f"    formula: {FORMULA}\n", ""),
    ),
    config(
        "wrong type",
        "path: 3",
        ConfigError,
        "data.trial.path",
        "3",
        "text",
        text=line("data.csv", "3"),
    ),
    config(
        "wrong type of a switch",
        "reml: maybe",
        ConfigError,
        "models.one.reml",
        "'maybe'",
        "true or false",
        text=GOOD + "    reml: maybe\n",
    ),
    config(
        "list in place of a mapping",
        "data: [trial]",
        ConfigError,
        "data is a list",
        "mapping",
        text="data: [trial]\nmodels: {}\n",
    ),
    config(
        "no model",
        "models: {}",
        ConfigError,
        "models is empty",
        text=GOOD.partition("models:")[0] + "models: {}\n",
    ),
    config(
        "unknown data set",
        "data: trail",
        ConfigError,
        "models.one.data",
        "'trail'",
        "did you mean 'trial'?",
        text=line("data: trial", "data: trail"),
        verb="run",
    ),
    config(
        "unknown method",
        "method: pxem",
        ConfigError,
        "models.one.method",
        "'pxem'",
        "did you mean 'px-em'?",
        "'ai'",
        text=GOOD + "    method: pxem\n",
    ),
    config(
        "unknown policy",
        "missing: ignore",
        ConfigError,
        "data.trial.missing",
        "'ignore'",
        "'drop', 'error'",
        text=line("data.csv\n", "data.csv\n    missing: ignore\n"),
    ),
    config(
        "unknown kind of workers",
        "dask: {kind: thread}",
        ConfigError,
        "dask.kind",
        "'thread'",
        "did you mean 'threads'?",
        text=GOOD + "dask: {kind: thread}\n",
    ),
    config(
        "not an amount of memory",
        "memory: lots",
        ConfigError,
        "dask.memory",
        "'lots'",
        "'2 GB'",
        text=GOOD + "dask: {memory: lots}\n",
    ),
    config(
        "no workers",
        "workers: 0",
        ConfigError,
        "dask.workers",
        "0",
        "at least 1",
        text=GOOD + "dask: {workers: 0}\n",
    ),
    config(
        "address without a kind",
        "address: tcp://x:1",
        ConfigError,
        "'address'",
        "'threads'",
        text=GOOD + "dask: {address: 'tcp://x:1'}\n",
    ),
    config(
        "name with a slash",
        "models: {a/b: ...}",
        ConfigError,
        "'a/b'",
        "letters",
        text=line("  one:", "  a/b:"),
    ),
    config(
        "name that climbs", "data: {..: ...}", ConfigError, "'..'", text=GOOD.replace("trial", "..")
    ),
    config(
        "name that is taken",
        "data: {models: ...}",
        ConfigError,
        "'models'",
        "taken",
        text=GOOD.replace("trial", "models"),
    ),
    config(
        "comparison with an unknown model",
        "compare: [[one, tow]]",
        ConfigError,
        "'tow'",
        "did you mean 'two'?",
        text=GOOD + "  two: {data: trial, formula: y ~ 1 + (1 | g)}\ncompare: [[one, tow]]\n",
    ),
    config(
        "comparison with itself",
        "compare: [[one]]",
        ConfigError,
        "[one]",
        "at least two",
        text=GOOD + "compare: [[one]]\n",
    ),
    config(
        "level list that is empty",
        "levels: {sex: []}",
        ConfigError,
        "'sex'",
        "no level",
        text=line("data.csv\n", "data.csv\n    levels: {sex: []}\n"),
    ),
    config(
        "tolerance out of range",
        "tolerance: 2",
        ConfigError,
        "control.tolerance",
        "2",
        "less than 1",
        text=GOOD + "control: {tolerance: 2}\n",
    ),
    config(
        "too few random vectors",
        "mc_probes: 2",
        ConfigError,
        "control.mc_probes",
        "2",
        "at least 4",
        text=GOOD + "control: {mc_probes: 2}\n",
    ),
    config(
        "code in YAML",
        "!!python/object/apply:os.system",
        ConfigError,
        "line 8",
        until="column",
        text=GOOD + "report: !!python/object/apply:os.system ['touch executed']\n",
    ),
    config(
        "order without a group",
        "order: x",
        ConfigError,
        "data.trial",
        "'order'",
        "'group'",
        text=line("data.csv\n", "data.csv\n    order: x\n"),
    ),
    config(
        "degrees of freedom of a misspelt name",
        "infer: {ddf: kenwardroger}",
        ConfigError,
        "models.one.infer.ddf",
        "'kenwardroger'",
        "did you mean 'kenward-roger'?",
        text=GOOD + "    infer: {ddf: kenwardroger}\n",
    ),
    config(
        "Kenward and Roger for ML",
        "reml: false, infer: {ddf: kenward-roger}",
        ConfigError,
        "models.one",
        "'kenward-roger', which is for REML",
        "'reml: true'",
        text=GOOD + "    reml: false\n    infer: {ddf: kenward-roger}\n",
    ),
    config(
        "contrast that tests nothing",
        "infer: {contrasts: {rise: {x: 0}}}",
        ConfigError,
        "'rise' has weights of zero alone",
        text=GOOD + "    infer: {contrasts: {rise: {x: 0}}}\n",
    ),
    config(
        "adjustment without contrasts",
        "infer: {emmeans: [{specs: x, adjust: holm}]}",
        ConfigError,
        "models.one.infer.emmeans[1]",
        "'adjust' is for contrasts",
        text=GOOD + "    infer: {emmeans: [{specs: x, adjust: holm}]}\n",
    ),
    config(
        "comparison refitted by REML",
        "compare: [{models: [one, one], refit: reml}]",
        ConfigError,
        "compare[1].refit",
        "'reml'",
        "'ml'",
        text=GOOD + "compare: [{models: [one, one], refit: reml}]\n",
    ),
    config(
        "means of no variable",
        "infer: {emmeans: [{specs: X}]}",
        ConfigError,
        "models.one.infer.emmeans[1]",
        "'X' is no variable",
        "did you mean 'x'?",
        text=GOOD + "    infer: {emmeans: [{specs: X}]}\n",
        read=False,
    ),
    config(
        "influence of no factor",
        "infer: {influence: gg}",
        ConfigError,
        "models.one.infer.influence",
        "'gg' is no grouping factor",
        text=GOOD + "    infer: {influence: gg}\n",
        read=False,
    ),
    config(
        "test of a term that cannot be dropped",
        "infer: {variance_test: {terms: ['(1 | gg)']}}",
        ConfigError,
        "models.one.infer.variance_test.terms",
        "'(1 | gg)'",
        "did you mean '(1 | g)'",
        text=GOOD + "    infer: {variance_test: {terms: ['(1 | gg)']}}\n",
        read=False,
    ),
    config(
        "distribution of a test misspelt",
        "infer: {variance_test: {method: exat}}",
        ConfigError,
        "models.one.infer.variance_test.method",
        "did you mean 'exact'",
        text=GOOD + "    infer: {variance_test: {method: exat}}\n",
    ),
    config(
        "BCa intervals of simulated responses",
        "infer: {bootstrap: {interval: bca}}",
        ConfigError,
        "models.one.infer.bootstrap",
        "`kind: group`",
        text=GOOD + "    infer: {bootstrap: {interval: bca}}\n",
    ),
    config(
        "too few draws",
        "infer: {bootstrap: {draws: 1}}",
        ConfigError,
        "models.one.infer.bootstrap.draws is 1",
        "at least 10",
        text=GOOD + "    infer: {bootstrap: {draws: 1}}\n",
    ),
    config(
        "groups drawn of no factor",
        "infer: {bootstrap: {kind: group, factor: gg}}",
        ConfigError,
        "models.one.infer.bootstrap.factor",
        "'gg' is no grouping factor",
        text=GOOD + "    infer: {bootstrap: {kind: group, factor: gg}}\n",
        read=False,
    ),
]


CONFIGS = {"Configuration": CONFIG}
