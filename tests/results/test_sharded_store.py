"""A sharded fit on disk: what comes back, and what is refused without the shards to compare with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import helpers
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import mixedflow as mf
from mixedflow.crossproducts import levels as stretches
from mixedflow.data import open_source
from mixedflow.errors import OutputError, StoredFileError, UnsupportedError
from mixedflow.parallel import Runner, open_runner
from mixedflow.results.sharded import ShardedFit

GROUPS, ROWS = 30, 6
FORMULA = "y ~ x + I(2 * x) + s + (1 + x | g)"


def frame(group: str = "int") -> pd.DataFrame:
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(GROUPS), ROWS)
    x = rng.normal(size=len(g))
    u = rng.normal(size=(GROUPS, 2))
    y = 10 + x + u[g, 0] + u[g, 1] * x + rng.normal(size=len(g))
    names: Any = {"int": g, "float": g + 0.5, "text": np.array([f"n{k:02d}" for k in g])}[group]
    return pd.DataFrame({"y": y, "x": x, "s": rng.choice(["a", "b"], len(g)), "g": names})


def sharded(data: pd.DataFrame, formula: str = FORMULA, **options: Any) -> ShardedFit:
    source = open_source(data, partition_rows=len(data) // 3)
    options = {"runner": Runner(), "sharded": True, **options}
    fit = mf.fit(formula, source, **options)
    assert isinstance(fit, ShardedFit)
    return fit


@pytest.fixture(scope="module")
def fitted() -> ShardedFit:
    return sharded(frame())


@pytest.fixture
def stored(fitted: ShardedFit, tmp_path: Path) -> Path:
    fitted.save(tmp_path / "fit")
    return tmp_path / "fit"


def same(one: ShardedFit, other: ShardedFit) -> None:
    for field in (
        "loglik", "deviance", "aic", "bic", "sigma", "nobs", "df_model", "converged", "singular", "n_iter",
        "n_levels", "reml", "method", "messages", "conditions", "timings", "versions", "data_summary",
        "coefficient_names", "certificate", "spec",
    ):  # fmt: skip
        assert getattr(one, field) == getattr(other, field), field
    pd.testing.assert_series_equal(one.fixef, other.fixef, check_exact=True)
    for field in ("vcov", "coef_table", "varcorr", "trace"):
        pd.testing.assert_frame_equal(getattr(one, field), getattr(other, field), check_exact=True)
    for field in ("ranef", "ranef_se"):
        for factor, table in getattr(one, field).items():
            pd.testing.assert_frame_equal(getattr(other, field)[factor], table, check_exact=True)
    assert one.summary() == other.summary()


@pytest.mark.parametrize("group", ["int", "float", "text"])
def test_everything_comes_back_to_the_bit(group: str, tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(GROUPS)  # groups whole, but in no order
    rows = np.concatenate([np.arange(k * ROWS, (k + 1) * ROWS) for k in order])
    fit = sharded(frame(group).iloc[rows].reset_index(drop=True))
    fit.save(tmp_path / "fit")
    again = mf.load(tmp_path / "fit")
    assert isinstance(again, ShardedFit)
    same(fit, again)
    new = frame(group)
    pd.testing.assert_series_equal(again.predict(new, random=False), fit.predict(new, random=False))
    assert sorted(p.name for p in (tmp_path / "fit").iterdir()) == [
        "crossproducts", "fit.json", "ranef", "schema", "trace.parquet",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("y ~ 1 + (1 | g)", {"reml": False}),
        ("y ~ x + (1 | g) + (0 + x | g)", {}),
        ("y ~ 0 + s + (1 | g)", {"method": "em"}),
    ],
)
def test_other_models(formula: str, options: dict[str, Any], tmp_path: Path) -> None:
    fit = sharded(frame(), formula, **options)
    fit.save(tmp_path / "fit")
    again = mf.load(tmp_path / "fit")
    assert isinstance(again, ShardedFit)
    same(fit, again)


def test_a_part_is_written_a_stretch_of_levels_at_a_time(tmp_path: Path, monkeypatch) -> None:
    fit = sharded(frame())
    whole = fit.ranef["g"]
    monkeypatch.setattr(stretches, "STRETCH", 4)
    fit.save(tmp_path / "fit")
    part = pq.ParquetFile(tmp_path / "fit/ranef/part-00000.parquet")
    assert [part.metadata.row_group(k).num_rows for k in range(part.num_row_groups)] == [8, 8, 4]
    monkeypatch.undo()
    pd.testing.assert_frame_equal(mf.load(tmp_path / "fit").ranef["g"], whole)


def test_shards_on_workers_write_their_own_parts(tmp_path: Path, fitted: ShardedFit) -> None:
    with open_runner("processes", workers=1) as runner:
        sharded(frame(), runner=runner).save(tmp_path / "fit")
    again = mf.load(tmp_path / "fit")
    pd.testing.assert_frame_equal(again.ranef["g"], fitted.ranef["g"], check_exact=True)
    assert again.loglik == fitted.loglik


def test_parts_of_a_loaded_fit_are_copied_and_it_is_saved_again(
    stored: Path, tmp_path: Path
) -> None:
    fit = mf.load(stored)
    assert isinstance(fit, ShardedFit)
    assert fit.ranef_parts(tmp_path / "parts") == GROUPS * 2
    for path in (tmp_path / "parts").iterdir():
        assert path.read_bytes() == (stored / "ranef" / path.name).read_bytes()
    fit.save(tmp_path / "copy")
    other = mf.load(tmp_path / "copy")
    assert isinstance(other, ShardedFit)
    same(fit, other)


def test_what_needs_the_shards_is_refused(stored: Path) -> None:
    fit = mf.load(stored)
    with pytest.raises(UnsupportedError, match="sharded fit"):
        fit.predict(frame())
    with pytest.raises(UnsupportedError, match="sharded fit"):
        _ = fit.resid
    with pytest.raises(UnsupportedError, match="ask for varcorr_se before it is saved"):
        _ = fit.varcorr_se
    with pytest.raises(UnsupportedError, match="fitted values and residuals"):
        fit.residuals("pearson")


def test_standard_errors_of_variances_are_those_of_the_whole(fitted: ShardedFit) -> None:
    whole = mf.fit(FORMULA, frame())
    for name in ("se", "se_sdcor"):
        np.testing.assert_allclose(fitted.varcorr_se[name], whole.varcorr_se[name], rtol=1e-7)


def test_one_kind_of_fit_replaces_the_other_and_nothing_else(
    stored: Path, fitted: ShardedFit, tmp_path: Path
) -> None:
    whole = mf.fit("y ~ x + (1 | g)", frame())
    whole.save(stored)
    assert not (stored / "ranef").exists()
    assert not isinstance(mf.load(stored), ShardedFit)
    fitted.save(stored)
    assert not (stored / "ranef.parquet").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"notes\.txt"):
        fitted.save(tmp_path / "other")


def edited(stored: Path, change: Any) -> None:
    path = stored / "fit.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(helpers.sealed(content))


CHANGES = {
    "version": (lambda c: c.update(format_version=9), "format version 9"),
    "format": (lambda c: c.update(format="other"), "does not describe a fit"),
    "key": (lambda c: c.pop("G"), "lacks 'G'"),
    "key of any fit": (lambda c: c.pop("spec"), "lacks 'spec'"),
    "log-likelihood": (lambda c: c.update(loglik=-1.0), "its log-likelihood is stored as"),
    "no number": (lambda c: c["beta"].__setitem__(0, float("nan")), "fixed effects is not finite"),
    "text": (lambda c: c["beta"].__setitem__(0, "one"), "is damaged"),
    "coefficient": (lambda c: c["fixef"].__setitem__("x", 3.0), "its fixed effects is stored as"),
    "standard error": (lambda c: c["se"].__setitem__("x", 3.0), "its standard errors is stored as"),
    "vcov": (lambda c: c["vcov"].pop(), "shape of their covariance"),
    "G": (lambda c: c.update(G=[[[1.0]]]), "shapes of G"),
    "variance": (lambda c: c["G"][0][0].__setitem__(0, -1.0), "variance below zero"),
    "sigma": (lambda c: c.update(sigma2=2.0), "its residual standard deviation is stored as"),
    "aliased": (lambda c: c.update(aliased=[]), "columns of the fixed part"),
    "levels": (lambda c: c["n_levels"].update(g=31), "its numbers of levels is stored as"),
    "rows": (lambda c: c.update(nobs=7), "its number of rows is stored as"),
    "formula": (lambda c: c["spec"].update(formula="y ~ x + (1 | g)"), "another design"),
    "a part more": (lambda c: c["parts"].pop(), "3 parts hold 40 random effects"),
    "part": (lambda c: c["parts"][0].update(rows=3), "where fit.json says"),
}


@pytest.mark.parametrize("name", list(CHANGES))
def test_what_does_not_agree_is_refused(name: str, stored: Path) -> None:
    change, says = CHANGES[name]
    edited(stored, change)
    with pytest.raises(StoredFileError, match=says) as caught:
        mf.load(stored)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("fit.json", "fit.json is missing"),
        ("trace.parquet", "no trace.parquet"),
        ("schema/schema.json", "no schema"),
        ("crossproducts/arrays.npz", "no arrays.npz"),
        ("ranef/part-00001.parquet", "is missing, which fit.json lists"),
    ],
)
def test_a_missing_file_is_named(file: str, says: str, stored: Path) -> None:
    (stored / file).unlink()
    with pytest.raises(StoredFileError, match=says):
        mf.load(stored)


def test_damage_of_a_part_is_noticed(stored: Path) -> None:
    path = stored / "ranef/part-00001.parquet"
    content = bytearray(path.read_bytes())
    path.write_bytes(bytes(content[:-9]))
    with pytest.raises(StoredFileError, match=r"damaged|bytes"):
        mf.load(stored)
    at = pq.ParquetFile(stored / "ranef/part-00000.parquet").metadata.row_group(0).column(3)
    place = stored / "ranef/part-00000.parquet"
    path.write_bytes(bytes(content))
    changed = bytearray(place.read_bytes())
    changed[at.data_page_offset + at.total_compressed_size // 2] ^= 1
    place.write_bytes(bytes(changed))
    with pytest.raises(StoredFileError, match=r"part-00000\.parquet' is damaged"):
        _ = mf.load(stored).ranef


def test_nothing_is_left_where_writing_fails(
    fitted: ShardedFit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OutputError, match="no space left"):
        fitted.save(tmp_path / "fit")
    assert list(tmp_path.iterdir()) == []
