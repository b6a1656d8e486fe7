"""Two passes to the sums: whatever the partitions and the runner, and piece by piece."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mixedflow.crossproducts.types import CrossProducts
from mixedflow.data import open_source
from mixedflow.design import Encoder, make_spec
from mixedflow.errors import DataError, FormulaError, OutputError
from mixedflow.parallel import Runner, condense, open_runner
from mixedflow.parallel.single_pass import one_reading_suffices

FORMULA = "y ~ x + s + (1 + x | g) + (1 | h)"
SPEC = make_spec(FORMULA)


def make_frame(n: int = 1200) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "g": rng.integers(0, 30, n),
            "h": rng.choice(list("abcdef"), n),
            "x": rng.normal(size=n) + 5,
            "s": rng.choice(["M", "F"], n),
        }
    )
    frame["y"] = frame["x"] + rng.normal(size=n) + 100
    frame.loc[7, "x"] = np.nan
    return frame


def numbers(sums: CrossProducts) -> list[np.ndarray]:
    (part,) = sums.keyed.values()
    factors = [a for f in part.factors for a in (f.levels, f.ZtBZ, f.ZtBX, f.ZtBy)]
    grouped = [f.groups for f in part.factors if f.groups is not None]
    groups = [a for g in grouped for a in (g.n_obs, g.sum_log_weight, g.XYtBXY)]
    pairs = [a for p in part.pairs.values() for a in (p.rows, p.cols, p.ZtBZ)]
    return [part.XtBX, part.XtBy, part.ytBy, *factors, *groups, *pairs]


def same_bits(a: CrossProducts, b: CrossProducts) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(numbers(a), numbers(b), strict=True))


def test_any_partitions_give_the_same_sums() -> None:
    frame = make_frame()
    schema, whole = condense(SPEC, open_source(frame))
    _, parts = condense(SPEC, open_source(frame, partition_rows=100))
    assert whole.n_obs == parts.n_obs == 1199
    assert whole.missing == parts.missing == {"x": 1}
    for a, b in zip(numbers(whole), numbers(parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-9)
    assert schema.rows_used == 1199


def test_any_runner_gives_the_same_bits(workers: Runner) -> None:
    source = open_source(make_frame(), partition_rows=100)
    seen: list[tuple[int, int]] = []
    _, one = condense(SPEC, source, on_done=lambda a, b: seen.append((a, b)))
    assert seen == [(i, 24) for i in range(1, 25)]
    with open_runner("threads", workers=3) as runner:
        assert same_bits(one, condense(SPEC, source, runner)[1])
    assert same_bits(one, condense(SPEC, source, workers)[1])


@dataclass(frozen=True)
class Logged:
    """A source that writes down what is read of it, in whatever process."""

    source: Any
    log: Path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.source, name)

    def read(self, index: int, columns: Any) -> Any:
        with self.log.open("a") as log:
            log.write(f"{index}\n")
        return self.source.read(index, columns)


@pytest.mark.parametrize("kind", ["synchronous", "threads", "processes"])
def test_one_reading_reads_every_partition_once(workers: Runner, tmp_path: Path, kind: str) -> None:
    spec = make_spec("y ~ x + (1 + x | g)")
    frame = make_frame().drop(columns=["s", "h"])
    source: Any = Logged(open_source(frame, partition_rows=200), tmp_path / "reads.txt")
    if kind == "processes":
        condense(spec, source, workers)
    else:
        with open_runner(kind, workers=2) as runner:
            condense(spec, source, runner)
    assert sorted(source.log.read_text().split()) == list("012345")


@pytest.mark.parametrize("by_group", [None, "g"])
def test_one_reading_gives_the_same_bits_whatever_the_order_in_which_levels_are_met(
    workers: Runner, by_group: str | None
) -> None:
    frame = make_frame().drop(columns="s").sort_values("x", ignore_index=True)
    frame["g"] = frame["g"] * 1000 - 7
    spec = make_spec("y ~ x + (1 + x | g) + (1 | h)")
    source = open_source(frame, partition_rows=30)
    assert source.n_partitions == 40
    assert one_reading_suffices(spec, source)
    schema, one = condense(spec, source, by_group=by_group)
    assert schema.levels["g"].values.tolist() == sorted(set(frame["g"]))
    assert schema.levels["h"].labels() == list("abcdef")
    with open_runner("threads", workers=3) as runner:
        for where in (runner, workers):
            other, sums = condense(spec, source, where, by_group=by_group)
            assert same_bits(one, sums)
            assert other.levels["g"].labels() == schema.levels["g"].labels()
    _, again = condense(spec, source, schema=schema, by_group=by_group)
    assert same_bits(one, again)


def test_the_order_of_a_category_is_kept() -> None:
    frame = make_frame()
    frame["s"] = pd.Categorical(frame["s"], categories=["X", "M", "F"])
    schema, _ = condense(SPEC, open_source(frame))
    assert schema.levels["s"].labels() == ["M", "F"]
    assert Encoder(SPEC, schema).info.x_columns == ("(Intercept)", "x", "s[T.F]")
    declared = make_spec(FORMULA, levels={"s": ["F", "M"]})
    schema, _ = condense(declared, open_source(frame))
    assert schema.levels["s"].labels() == ["F", "M"]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the partitions that are condensed."""
    from mixedflow.parallel import condensing

    calls: list[int] = []
    original = condensing._Condensing.partition

    def wrapper(condensing: Any, index: int) -> CrossProducts:
        calls.append(index)
        return original(condensing, index)

    monkeypatch.setattr(condensing._Condensing, "partition", wrapper)
    return calls


def test_one_changed_partition_computes_one_piece(tmp_path: Path, counted: list[int]) -> None:
    frame, place = make_frame(), tmp_path / "pieces"

    def run() -> CrossProducts:
        counted.clear()
        return condense(SPEC, open_source(frame, partition_rows=100), path=place)[1]

    def fresh() -> CrossProducts:
        return condense(SPEC, open_source(frame, partition_rows=100))[1]

    first = run()
    assert counted == list(range(12))
    assert same_bits(first, fresh())
    assert same_bits(first, run())
    assert counted == []
    frame.loc[450, "y"] += 1e-4
    changed = run()
    assert counted == [4]
    assert same_bits(changed, fresh())
    assert not same_bits(changed, first)
    folders = [p for p in place.iterdir() if p.is_dir()]
    assert len(folders) == 12
    frame.loc[450, "g"] = 99
    assert same_bits(run(), fresh())
    counted.clear()
    frame.loc[450, "x"] += 1e6
    run()
    assert counted == list(range(12))


def test_a_damaged_piece_is_computed_again(tmp_path: Path, counted: list[int]) -> None:
    source = open_source(make_frame(), partition_rows=100)
    _, first = condense(SPEC, source, path=tmp_path)
    piece = sorted(p for p in tmp_path.iterdir() if p.is_dir())[3]
    (piece / "arrays.npz").write_bytes(b"nothing")
    counted.clear()
    _, again = condense(SPEC, source, path=tmp_path)
    assert counted == [3]
    assert same_bits(first, again)


def test_terms_that_divide_the_same_columns_share_the_pieces(
    tmp_path: Path, counted: list[int]
) -> None:
    source = open_source(make_frame(), partition_rows=100)
    condense(SPEC, source, path=tmp_path)
    counted.clear()
    other = make_spec("y ~ x + s + (1 + x || g) + (1 | h)")
    condense(other, source, path=tmp_path)
    assert counted == []


def test_what_is_wrong_with_the_data_is_said(tmp_path: Path) -> None:
    source = open_source(make_frame(), partition_rows=100)
    with pytest.raises(FormulaError, match="did you mean"):
        condense(make_spec("y ~ xx + (1 | g)"), source)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        condense(SPEC, source, path=tmp_path / "file" / "pieces")
    when = make_frame().assign(d=pd.Timestamp("2020-01-01"))
    with pytest.raises(DataError, match="'d' holds dates"):
        condense(make_spec("y ~ d + (1 | g)"), open_source(when))
