"""Before a run and after a broken one: would it work here, and what did it leave behind.

Reads what Slurm, Snakemake and the system say; stands outside the equations of ``docs/algorithm.md``.
"""
