"""Vega, Vega-Lite and vega-embed as one script, shared by every chart of a page.

Stands outside the equations of ``docs/algorithm.md``. The script comes out of the vl-convert wheel,
so that making a page needs no network and reading it needs none either.
"""

from __future__ import annotations

from functools import cache

import altair as alt
import vl_convert

_SNIPPET = "window.vegaEmbed = vegaEmbed;"


def _wanted_version() -> str | None:
    """Return the bundled Vega-Lite version that Altair writes for, None for the newest."""
    major, minor = str(alt.SCHEMA_VERSION).lstrip("v").split(".")[:2]
    available = {str(version) for version in vl_convert.get_vegalite_versions()}
    return f"{major}.{minor}" if f"{major}.{minor}" in available else None


@cache
def chart_library() -> str:
    """Return the script; it defines ``vegaEmbed`` on the window."""
    script = str(vl_convert.javascript_bundle(_SNIPPET, vl_version=_wanted_version()))
    # Inside <script> only these two sequences could end or nest the element.
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
