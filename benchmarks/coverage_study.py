"""Do 95 % intervals cover 95 %, and do tests at 5 % reject 5 %? Simulated, on few groups.

    python benchmarks/coverage_study.py                                    # 500 replicates, to the terminal
    python benchmarks/coverage_study.py --replicates 5000 --out docs/coverage.md       # half an hour
    python benchmarks/coverage_study.py --part tests --replicates 2500 --out docs/coverage.md

With ``--part`` the other section of the page stays as it is.

Groups have 2 to 12 rows; ``arm`` is constant within a group, in one group of three; ``x`` varies
within groups about a mean of their own. The rows are made once a design and encoded once; a
replicate draws y, condenses it and fits the sums. Seeds depend on design and replicate alone, so the
table does not depend on the number of processes.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from tables import table

import mixedflow as mf
from mixedflow.crossproducts.condense import condense_block
from mixedflow.design.types import DesignBlock
from mixedflow.errors import FitError
from mixedflow.results.build import fit_condensed

METHODS = ("kenward-roger", "satterthwaite", "asymptotic")
GROUPS = (8, 15, 30)
RANDOM = {"(1 | g)": (1.0, 0.0), "(1 + x | g)": (1.0, 0.7)}
"""Standard deviations of the intercept and of the slope of x."""

DROPPED = {"(1 | g)": (0.0, 0.0), "(1 + x | g)": (1.0, 0.0)}
"""The same where what the test drops is zero: the intercept; the slope and its covariance."""

CORRELATION, BETA = 0.3, np.array([1.0, 0.5, -0.5, 0.25])
LEVEL, LEFT, BATCH = 0.95, 0.05, 50


class Design(NamedTuple):
    """A random part, its true standard deviations, and a number of groups."""

    term: str
    sd: tuple[float, float]
    groups: int
    number: int


@dataclass(frozen=True)
class Prepared:
    """What all replicates of a design share."""

    frame: pd.DataFrame
    X: np.ndarray
    codes: np.ndarray
    fit: mf.FitResult
    block: DesignBlock

    def drawn(self, design: Design, replicate: int) -> mf.FitResult:
        """Return the fit of a replicate, on its own sums."""
        rng = np.random.default_rng([11, design.number, replicate])
        y = self.X @ BETA + rng.normal(size=len(self.X))
        u, v = rng.normal(size=(2, design.groups))
        v = CORRELATION * u + np.sqrt(1.0 - CORRELATION**2) * v
        y += (design.sd[0] * u)[self.codes] + (design.sd[1] * v)[self.codes] * self.X[:, 2]
        block = replace(self.block, y=y[:, None])
        sums = condense_block(block, self.fit.encoder.info, kernel="numpy")
        return fit_condensed(self.fit.spec, self.fit.schema, sums)


@cache
def prepared(design: Design) -> Prepared:
    """Return rows, columns and a first fit; the same for the same term and number of groups."""
    rng = np.random.default_rng([5, design.groups])
    sizes = rng.integers(2, 13, design.groups)
    codes = np.repeat(np.arange(design.groups), sizes)
    arm = (np.arange(design.groups) % 3 == 1).astype(float)[codes]
    x = rng.normal(scale=0.5, size=design.groups)[codes] + rng.normal(size=len(codes))
    X = np.column_stack([np.ones(len(codes)), arm, x, arm * x])
    y = X @ BETA + rng.normal(size=design.groups)[codes] + rng.normal(size=len(codes))
    frame = pd.DataFrame({"y": y, "arm": arm, "x": x, "g": codes.astype(str)})
    fit = mf.fit(
        f"y ~ arm * x + {design.term}", frame, levels={"g": list(dict.fromkeys(frame["g"]))}
    )
    block = fit.encoder.encode(pa.Table.from_pandas(frame))
    return Prepared(frame, X, codes, fit, block)


def covered(design: Design, batch: range) -> pd.DataFrame:
    """Return, a replicate a row, whether every method's intervals held the truth."""
    rows = []
    for replicate in batch:
        fit = prepared(design).drawn(design, replicate)
        row = {("fit", "singular"): float(fit.singular)}
        for method in METHODS:
            try:
                found = fit.infer(method, level=LEVEL).coef_table
            except FitError:
                continue
            held = (found["lower"] <= BETA) & (found["upper"] >= BETA)
            row |= {(method, name): float(value) for name, value in held.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def rejected(design: Design, batch: range) -> pd.DataFrame:
    """Return, a replicate a row, whether the likelihood-ratio test rejects at 5 %."""
    rows = []
    for replicate in batch:
        fit = prepared(design).drawn(design, replicate)
        mixture = fit.variance_test(method="mixture").iloc[0]
        row = {"mixture": mixture["p"] < LEFT, "chi2": mixture["p_chi2"] < LEFT}
        if not design.sd[0]:
            row["exact"] = fit.variance_test(method="exact")["p"].iloc[0] < LEFT
        rows.append(row)
    return pd.DataFrame(rows, dtype=float)


def designs(sds: dict[str, tuple[float, float]], first: int) -> Iterator[Design]:
    """Yield every random part with every number of groups."""
    for i, (term, sd) in enumerate(sds.items()):
        for j, groups in enumerate(GROUPS):
            yield Design(term, sd, groups, first + 10 * i + j)


def collected(
    task: object, design: Design, replicates: int, pool: ProcessPoolExecutor
) -> pd.DataFrame:
    """Return all replicates of a design."""
    starts = range(0, replicates, BATCH)
    jobs = [pool.submit(task, design, range(a, min(a + BATCH, replicates))) for a in starts]
    return pd.concat([job.result() for job in jobs], ignore_index=True)


def escaped(term: str) -> str:
    """Return a random part as code within a table."""
    return "`" + term.replace("|", "\\|") + "`"


def share(values: pd.Series, wanted: float) -> str:
    """Return a percentage with its Monte-Carlo error; a star where two of them do not reach."""
    values = values.dropna()
    found = float(values.mean())
    error = np.sqrt(wanted * (1.0 - wanted) / len(values))
    star = "\\*" if abs(found - wanted) > 2.0 * error else ""
    return f"{100 * found:.1f} ± {100 * error:.1f}{star}"


def coverage_rows(replicates: int, pool: ProcessPoolExecutor) -> Iterator[list[str]]:
    """Yield a row a design and coefficient."""
    for design in designs(RANDOM, 100):
        began = time.perf_counter()
        found = collected(covered, design, replicates, pool)
        singular = 100.0 * float(found["fit", "singular"].mean())
        unanswered = int(found[METHODS[0], "arm"].isna().sum())
        for k, name in enumerate(prepared(design).fit.coefficient_names):
            shown = [share(found[method, name], LEVEL) for method in METHODS]
            first = [escaped(design.term), f"{design.groups}", f"{singular:.0f} %", f"{unanswered}"]
            yield [*(first if not k else [""] * 4), f"`{name}`", *shown]
        print(f"{design.term}, {design.groups}: {time.perf_counter() - began:.0f} s", flush=True)


def test_rows(replicates: int, pool: ProcessPoolExecutor) -> Iterator[list[str]]:
    """Yield a row a design."""
    for design in designs(DROPPED, 200):
        found = collected(rejected, design, replicates, pool)
        what = escaped(design.term) if not design.sd[0] else f"`x` in {escaped(design.term)}"
        names = [name for name in ("exact", "mixture", "chi2") if name in found]
        shown = [share(found[name], LEFT) for name in names]
        yield [what, f"{design.groups}", *[""] * (3 - len(names)), *shown]
        print(f"test of {what}, {design.groups} groups", flush=True)


PAGE = """# Coverage of intervals, size of tests

Written by `python benchmarks/coverage_study.py --replicates N --out docs/coverage.md`, with `--part` for
one of its sections. Model `y ~ arm * x` with a random part in groups of 2 to 12 rows; `arm` is constant
within a group (one group of three), `x` varies within groups about a mean of their own. True standard
deviations: intercept 1, slope of `x` 0.7 (where there is one), correlation 0.3, residual 1. Percentages ±
one Monte-Carlo error of the nominal value; a star where two of them do not reach it, as one figure in
twenty will by chance.

"""

INTERVALS = """## 95 % intervals of the fixed effects

{replicates:,} simulated data sets a design. "singular" is the share of fits with a variance of zero or a
correlation of one, all of which are counted; "no KR" the number of those whose expected information cannot
be inverted, which Kenward and Roger's column lacks.

{coverage}
{said}"""

TESTS = """## The likelihood-ratio test of a variance at 5 %

{replicates:,} simulated data sets a design: `fit.variance_test()` by REML where what is dropped is zero.
"exact" is the distribution for this very design (Crainiceanu and Ruppert 2004), the default where the
random part is one term of one column; no such distribution is known for a slope beside an intercept.
"mixture" is that of chi-squared, which holds for many groups; with few, more than half of the ratios are
zero, and the test errs on the safe side. "chi2" is chi-squared without the mixture.

Drawn 60,000 times straight from the spectral form, on a finer grid, the exact test rejects in 4.7, 5.0
and 5.1 % with 8, 15 and 30 groups, ± 0.2 for the 10,000 draws that its p-values come from: the star at 15
groups is chance.

{tests}"""

SAID = """Normal intervals are too short for what varies between groups, the more so the fewer the groups;
Kenward and Roger's and Satterthwaite's are those to use.

With eight groups and slopes, where a quarter of the fits are singular, Kenward and Roger's intervals of
`arm:x` hold the truth too often. That is the method: on the first 400 of these data sets pbkrtest's
intervals cover in 97.5 % as ours do, and lmerTest's by Satterthwaite in 95.2 % as ours do, and in all 398
where lme4 ends at our optimum (in two, both singular, it ends at a lower likelihood) standard errors agree
to 5e-4 and degrees of freedom to 6e-5, relative (medians: no difference). Both cover in 99.0 % where the
fit is not singular and 92.3 % where it is: with three groups in an arm the slopes' variance is hardly
known, and the adjustment, an expansion for many groups, makes up for it on average only.
"""


def page(intervals: str, tests: str, former: str) -> str:
    """Return the page, with the sections of the former one where there is no new one."""
    heads = [part.splitlines()[0] for part in (INTERVALS, TESTS)]
    if not (intervals and tests):
        if not all(head in former for head in heads):
            raise SystemExit("--part needs the page with the other section: --out FILE")
        start, stop = (former.index(head) for head in heads)
        intervals, tests = intervals or former[start:stop].rstrip() + "\n", tests or former[stop:]
    return f"{PAGE}{intervals}\n{tests}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--replicates", type=int, default=500)
    parser.add_argument(
        "--part", choices=("intervals", "tests"), help="one section; both otherwise"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, help="the page; the terminal otherwise")
    given = parser.parse_args(arguments)
    former = given.out.read_text(encoding="utf-8") if given.part and given.out else ""
    first = ("random part", "groups", "singular", "no KR", "coefficient")
    parts = {"intervals": "", "tests": ""}
    with ProcessPoolExecutor(given.processes) as pool:
        if given.part != "tests":
            methods = (*first, *(f"`{m}`" for m in METHODS))
            found = table(methods, coverage_rows(given.replicates, pool))
            parts["intervals"] = INTERVALS.format(
                replicates=given.replicates, coverage=found, said=SAID
            )
        if given.part != "intervals":
            head = ("dropped", "groups", "exact", "mixture", "chi2")
            found = table(head, test_rows(given.replicates, pool))
            parts["tests"] = TESTS.format(replicates=given.replicates, tests=found)
    text = page(**parts, former=former)
    if given.out is None:
        print(text)
    else:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
