"""Partitions everywhere, added up in a fixed tree; the only room that imports dask."""
