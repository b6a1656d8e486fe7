"""One number for everything in a schema that sums depend on.

Stands at "Condensing" in ``docs/algorithm.md``: pieces of sums on disk are used again only where
their schema was the same to the bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from mixedflow.data.fingerprint import sha256_of_table, sha256_of_text
from mixedflow.design import Schema


def schema_digest(schema: Schema) -> str:
    """Return the SHA-256 of what a partition's sums depend on besides its rows.

    Levels, states of transforms and pilots count; numbers of rows and messages do not.
    """
    pilots = schema.pilots
    content = {
        "design_key": schema.design_key,
        "kinds": dict(sorted(schema.kinds.items())),
        "factors": [[name, list(variables)] for name, variables in schema.factors],
        "states": _plain(schema.states),
        "levels": {n: [v.kind, _array_digest(v.values)] for n, v in sorted(schema.levels.items())},
        "keys": {n: _array_digest(v) for n, v in sorted(schema.keys.items())},
        **_residual_digest(schema),
        "pilots": [
            [values.tolist() for values in pair]
            for pair in (
                (pilots.x_shift, pilots.x_scale),
                (pilots.y_shift, pilots.y_scale),
                pilots.z_shift,
                pilots.z_scale,
            )
        ],
    }
    return sha256_of_text(json.dumps(content, sort_keys=True))


def _residual_digest(schema: Schema) -> dict[str, Any]:
    residual = schema.residual
    if residual is None:
        return {}
    positions, strata = list(residual.design.positions), list(residual.design.strata)
    return {"residual": [positions, strata, residual.keys.tolist()]}


def _array_digest(values: Any) -> str:
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return sha256_of_table(pa.table({"value": array}))


def _plain(value: Any) -> Any:
    """Return states as JSON holds them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
