"""What sweeps and scans have in common: a page of their own beside the report.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from urllib.parse import quote


class OwnPage:
    """How a page is called and where it is; its class has the fields."""

    __slots__ = ()
    name: str
    title: str
    page: str

    @property
    def heading(self) -> str:
        """What the page is called."""
        return self.title or self.name

    @property
    def address(self) -> str:
        """Where the page is, seen from the report."""
        return self.page or quote(f"{self.name}.html")
