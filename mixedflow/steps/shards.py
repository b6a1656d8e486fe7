"""The step of a model whose groups' sums stay in shards: prepared rows become a fit in parts.

Stands at "Shards" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from mixedflow.config import DaskConfig, DataConfig, ModelConfig
from mixedflow.crossproducts.folder import is_design
from mixedflow.data import PreparedData
from mixedflow.design import check_columns
from mixedflow.design.shardable import check_shardable
from mixedflow.errors import UnsupportedError
from mixedflow.parallel import Runner
from mixedflow.recording import phase
from mixedflow.results.build import FitRequest, RowSource
from mixedflow.results.fit_result import FitResult
from mixedflow.results.sharded import ShardedFit
from mixedflow.sharding import fit_sharded
from mixedflow.steps.opening import runner_of, source_of
from mixedflow.steps.rows import spec_of


def fit_in_shards(
    data: DataConfig,
    model: ModelConfig,
    request: FitRequest,
    dask: DaskConfig,
    out: Path | None,
) -> ShardedFit:
    """Fit a model in shards and store it, while its shards are there.

    Shards are on the workers; without workers they are on disk beside the fit, until it is written.
    """
    spec = spec_of(model.formula, data, model.weights, model.residual)
    check_shardable(spec, "auto" if request.control is None else request.control.solver)
    if is_design(Path(data.path)):
        raise UnsupportedError(
            f"'{data.path}' holds condensed data, and sharded fits are made from rows: name the data "
            "prepared by group, or leave sharded out"
        )
    source = source_of(data)
    check_columns(spec, source.columns(), source.name)
    origin = source.manifest.source if isinstance(source, PreparedData) else source.name
    with runner_of(dask) as runner, _place_of_shards(runner, out) as place:
        with phase("fit"):
            fit = fit_sharded(spec, RowSource(origin, source), request, runner, place)
        if out is not None:
            with phase("write"):
                fit.save(out)
    return fit


@contextmanager
def _place_of_shards(runner: Runner, out: Path | None) -> Iterator[Path | None]:
    """Give a folder that lasts as long as the body, None where workers keep the shards."""
    if runner.client is not None:
        yield None
        return
    beside = None
    if out is not None:
        beside = next(place for place in out.absolute().parents if place.is_dir())
    name = "mixedflow" if out is None else out.name
    with TemporaryDirectory(prefix=f".{name}.new-shards-", dir=beside) as folder:
        yield Path(folder)


def refuse_sharded(fit: FitResult, folder: Path) -> None:
    """Raise for a sharded fit, which diagnostics cannot use."""
    if isinstance(fit, ShardedFit):
        raise UnsupportedError(
            f"'{folder}' is a sharded fit, whose random effects stay in parts; diagnostics need the "
            "fit in memory: fit the model without sharded"
        )
