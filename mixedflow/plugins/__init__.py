"""What Snakemake discovers: ``--executor mixedflow-dask``, every job a task of Dask workers.

Snakemake loads every plugin whenever it starts, so nothing here imports Dask before it is needed.
Stands outside the equations of ``docs/algorithm.md``.
"""
