"""The page of covariance structures, ``docs/structures.md``, written from the registry.

``python -m mixedflow.covariance.page --fix`` writes it; a test fails when it is out of step.
Stands at "Structures" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mixedflow.covariance.base import CovarianceStructure
from mixedflow.covariance.registry import residual_structures, structures
from mixedflow.covariance.residual_base import ResidualStructure

PAGE = Path("docs/structures.md")

_HEAD = """\
# Covariance structures

*Written by `python -m mixedflow.covariance.page --fix` from the registry: edit the structures' files.*

A structure is one file in `mixedflow/covariance/`; packages add theirs by entry points,
see [how](tutorial_structure.md).

## Random effects: G

Written around a term of the formula: `cs(1 + x | g)`, `ar1(0 + visit | g)`, `fa(0 + site | g, 2)`,
`fixed(1 + x | g, [[4, 0.5], [0.5, 1]])`. `(1 + x | g)` is `us`, `(1 + x || g)` a term for each column.
Several terms may share a factor: `(1 | Block) + id(0 + sample | Block)` is nlme's `pdBlocked`.

Structures other than `us` belong to the columns as they are written: another unit or origin of a
covariate is another model. Standard deviations may reach zero, correlations one; such a fit ends on
the boundary and says `singular`. Any real value of every parameter gives a covariance matrix.
"""

_RESIDUAL = """\
## Residuals: R

R_i = sigma2 R0, R0 restricted to the positions that group i has; R0 is 1 at the first position of the
first stratum. Written as `residual="us(visit | subject)"`; `us(visit | arm/subject)` has one R0 for
every arm.

The basis says what is summed while the rows are read. Structures with the same basis share the sums:
going from one to the other reads nothing.
"""

_BASES = """\
| basis | sums over | R0^-1 |
|---|---|---|
| strata | rows of a stratum | I / v_s |
| sizes | groups of n rows: I and J | [I - rho/(1 + (n-1) rho) J] / (1 - rho) |
| gaps | rows, and neighbours that are d apart | I + sum_d r/(1 - r^2) (r D_d - O_d), r over d |
| pairs | pairs of positions, by which a group has | the inverse of R0 restricted, pattern by pattern |

`sp_exp(x, y | g)` takes any number of coordinates, r = exp(-d / range) over Euclidean distances. Its
positions are the points of the data, up to 4,000; where every group has points of its own, its sums are
as large as its rows and more. With one coordinate, `sp_exp(t | g)`, it is `car1`, and there may be any
number of points.
"""


def page() -> str:
    """Return the text of ``docs/structures.md``."""
    of_g = [one for one in structures().values() if _ours(one)]
    of_r = [one for one in residual_structures().values() if _ours(one)]
    return "\n".join([_HEAD, _table_of_g(of_g), _RESIDUAL, _BASES, _table_of_r(of_r)])


def update(root: Path, *, fix: bool) -> bool:
    """Return whether the page below ``root`` is out of step; write it with ``fix``."""
    path, text = root / PAGE, page()
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    if fix:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return True


def main(arguments: list[str]) -> int:
    """Check, or with ``--fix`` write, the page of this working directory."""
    stale = update(Path.cwd(), fix="--fix" in arguments)
    return 0 if not stale or "--fix" in arguments else 1


def _ours(structure: object) -> bool:
    return type(structure).__module__.startswith("mixedflow.")


def _table_of_g(found: list[CovarianceStructure]) -> str:
    lines = [
        "| name | | G | parameters for 2, 3, 5 columns |",
        "|---|---|---|---|",
    ]
    for one in found:
        formula = one.formula.replace("|", "\\|")
        lines.append(f"| `{one.name}` | {one.title} | {formula} | {_counts(one)} |")
    return "\n".join([*lines, ""])


def _counts(structure: CovarianceStructure) -> str:
    shown = []
    for dim in (2, 3, 5):
        examples = structure.examples(dim)
        shown.append(" or ".join(str(one.n_params(dim)) for one in examples) or "none")
    return ", ".join(shown)


def _table_of_r(found: list[ResidualStructure]) -> str:
    lines = [
        "| name | | basis | variances | parameters for 2, 4 positions | special case of |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        nested = ", ".join(f"`{name}`" for name in one.nested_in)
        variances = "one for each position" if one.heterogeneous else "one"
        counts = ", ".join(str(one.n_params(size)) for size in (2, 4))
        bases = " or ".join(one.bases)
        lines.append(
            f"| `{one.name}` | {one.title} | {bases} | {variances} | {counts} | {nested} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
