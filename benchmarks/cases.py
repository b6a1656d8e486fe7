"""What is measured: data, models, peers, and which peer is asked what. No numerical library here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REFERENCES = HERE.parent / "tests" / "references" / "data"


@dataclass(frozen=True)
class Dataset:
    """A Parquet file that can be made again."""

    name: str
    rows: int
    make: tuple[str, ...]
    """Script in this folder and its arguments; the path of the file is put last."""


@dataclass(frozen=True)
class Case:
    """A model of a dataset, and how often it is run."""

    name: str
    family: str
    data: Dataset
    formula: str
    response: str
    fixed: tuple[str, ...]
    random: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    rounds: int = 3
    repeat: int = 0
    reml: bool = True
    residual: str = "iid"

    def request(self, path: Path) -> dict[str, Any]:
        """Return what the process of a peer is told."""
        return {
            "data": str(path),
            "formula": self.formula,
            "response": self.response,
            "fixed": list(self.fixed),
            "random": [[list(columns), list(group)] for columns, group in self.random],
            "reml": self.reml,
            "residual": self.residual,
            "repeat": self.repeat,
        }


@dataclass(frozen=True)
class Peer:
    """A package, and the largest case of each family that it is asked.

    ``most`` maps a family to a number of rows; a family that is absent is beyond the package's
    models (``cannot`` says so), and ``slow`` says what came of larger cases when they were tried.
    """

    name: str
    script: str
    most: dict[str, int] = field(default_factory=dict)
    cannot: str = "one grouping factor only"
    slow: str = ""
    compiles: bool = False

    def declines(self, case: Case) -> str:
        """Return why the peer is not asked a case, or an empty string."""
        if case.family not in self.most:
            return self.cannot
        return self.slow if case.data.rows > self.most[case.family] else ""


ANY = 10**12
ALL = {"grouped": ANY, "crossed": ANY, "insteval": ANY, "sleepstudy": ANY}
VISITS = 8

PEERS = (
    Peer("mixedflow", "run_mixedflow.py", ALL | {"repeated": ANY}, compiles=True),
    Peer("floor", "run_floor.py", ALL),
    Peer("mixedlm-rs", "run_mixedlm_rs.py", {"grouped": 10**7, "sleepstudy": ANY}),
    Peer(
        "lme-python",
        "run_lme_python.py",
        {"grouped": 10**7, "sleepstudy": ANY},
        cannot="not run: no answer in 300 s (InstEval) and 240 s (100,000 rows) when last tried",
    ),
    Peer("mixedlm", "run_mixedlm.py", ALL | {"grouped": 10**7}),
    Peer(
        "gpboost",
        "run_gpboost.py",
        ALL | {"grouped": 10**6},
        slow="not run beyond a million rows",
    ),
    Peer(
        "lme4",
        "run_lme4.R",
        ALL | {"grouped": 10**6},
        slow="not run: more than 480 s and 8.6 GB when last tried",
    ),
    Peer(
        "statsmodels",
        "run_statsmodels.py",
        {"grouped": 10**5, "sleepstudy": ANY},
        slow="not run beyond a hundred thousand rows",
    ),
    Peer(
        "FLASH-MM",
        "run_flash_mm.py",
        {"grouped": 10**5, "sleepstudy": ANY},
        cannot="not run: Z'Z is held dense",
        slow="not run: Z'Z is held dense",
    ),
    Peer(
        "gls",
        "run_gls.R",
        {"repeated": 1000 * VISITS},
        cannot="not run: correlated residuals without random effects only",
        slow="not run: 144 s of CPU for 2,000 subjects when last tried",
    ),
)


def digits(rows: int) -> str:
    """Return a number of rows in words that sort: 1e5."""
    return f"{rows:.0e}".replace("e+0", "e")


COVARIATES = tuple(f"x{k}" for k in range(1, 9))
GROUPED = f"y ~ {' + '.join(COVARIATES)} + (1 + x1 | g)"


def grouped(rows: int, rounds: int) -> Case:
    """One grouping factor, a hundred rows a group."""
    made = ("make_data.py", "grouped", "--rows", f"{rows}", "--groups", f"{rows // 100}", "--out")
    data = Dataset(f"grouped-{digits(rows)}.parquet", rows, made)
    random = ((("1", "x1"), ("g",)),)
    return Case(
        f"{digits(rows)} rows", "grouped", data, GROUPED, "y", COVARIATES, random, rounds
    )  # fmt: skip


def crossed(rows: int, rounds: int) -> Case:
    """Users by items, drawn by Zipf's law."""
    users, items = rows // 20, rows // 200
    sizes = ("--rows", f"{rows}", "--users", f"{users}", "--items", f"{items}", "--out")
    data = Dataset(f"crossed-{digits(rows)}.parquet", rows, ("make_data.py", "crossed", *sizes))
    random = ((("1",), ("user",)), (("1",), ("item",)))
    formula = "y ~ x1 + (1 | user) + (1 | item)"
    name = f"{digits(rows)} rows, {users:,} users x {items:,} items"
    return Case(name, "crossed", data, formula, "y", ("x1",), random, rounds)


def repeated(subjects: int, rounds: int) -> Case:
    """Visits by subject, some missing, under an unstructured covariance: an MMRM."""
    rows = subjects * VISITS
    sizes = ("--subjects", f"{subjects}", "--visits", f"{VISITS}", "--out")
    data = Dataset(f"mmrm-{subjects}.parquet", rows, ("make_data.py", "mmrm", *sizes))
    formula, fixed = "y ~ base + sex + arm * visit", ("base", "sex", "arm", "visit")
    name = f"{subjects:,} subjects"
    return Case(
        name, "repeated", data, formula, "y", fixed, (), rounds, residual="us(visit | subject)"
    )  # fmt: skip


def from_reference(name: str, rows: int) -> Dataset:
    """Return a reference file as Parquet."""
    source = next(REFERENCES.glob(f"{name}.csv*"))
    return Dataset(f"{name}.parquet", rows, ("convert.py", "parquet", str(source)))


def insteval(rounds: int) -> Case:
    """lme4's InstEval: students by lecturers, and departments by service."""
    random = ((("1",), ("s",)), (("1",), ("d",)), (("1",), ("dept", "service")))
    formula = "y ~ 1 + (1 | s) + (1 | d) + (1 | dept:service)"
    data = from_reference("InstEval", 73_421)
    return Case("InstEval", "insteval", data, formula, "y", (), random, rounds)


def sleepstudy(rounds: int, repeat: int) -> Case:
    """The smallest example: what a process costs before any rows."""
    random = ((("1", "Days"), ("Subject",)),)
    formula = "Reaction ~ Days + (Days | Subject)"
    data = from_reference("sleepstudy", 180)
    name = f"{repeat} warm fits" if repeat else "first fit"
    return Case(
        name, "sleepstudy", data, formula, "Reaction", ("Days",), random, rounds, repeat
    )  # fmt: skip


SIZES = ("tiny", "small", "full", "huge")

GROUPED_SIZES = {
    "tiny": ((2_000, 1),),
    "small": ((10**5, 3), (10**6, 5)),
    "full": ((10**5, 3), (10**6, 5), (10**7, 3)),
    "huge": ((10**5, 3), (10**6, 5), (10**7, 3)),
}

SCALING_SIZES = {
    "tiny": (2_000, 4_000),
    "small": (2 * 10**5, 10**6),
    "full": (2 * 10**5, 10**6, 10**7),
    "huge": (2 * 10**5, 10**6, 10**7, 10**8),
}

CROSSED_SIZES = {
    "tiny": ((2_000, 1),),
    "small": ((10**5, 3),),
    "full": ((10**5, 3), (10**6, 3)),
    "huge": ((10**5, 3), (10**6, 3)),
}

REPEATED_SIZES = {
    "tiny": ((100, 1),),
    "small": ((200, 3), (10**5, 3)),
    "full": ((200, 3), (1000, 2), (10**5, 3), (10**6, 3)),
    "huge": ((200, 3), (1000, 2), (10**5, 3), (10**6, 3)),
}

STAGES_ROWS = {"tiny": 2_000, "small": 10**6, "full": 10**7, "huge": 10**7}
