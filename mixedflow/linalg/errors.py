"""What a factorisation reports to its caller; outside the equations of ``docs/algorithm.md``."""

from __future__ import annotations

from mixedflow.errors import FitError


class NotPositiveDefinite(FitError):  # noqa: N818 - the property itself, as every text on Cholesky names it
    """A matrix has no Cholesky factor; a caller that can step back catches this.

    Attributes
    ----------
    column : int
        Column, in the numbering of the matrix that was given, whose pivot is not positive.
    item : int or None
        Which matrix of a batch it was.
    """

    def __init__(self, column: int, item: int | None = None) -> None:
        self.column = column
        self.item = item
        place = "the matrix" if item is None else f"matrix {item} of the batch"
        super().__init__(
            f"{place} is not positive definite: the pivot of column {column} is zero, negative "
            "or not a number"
        )

    def __reduce__(self) -> tuple[type[NotPositiveDefinite], tuple[int, int | None]]:
        """Rebuild from the column: a worker process hands its failures back pickled."""
        return type(self), (self.column, self.item)
