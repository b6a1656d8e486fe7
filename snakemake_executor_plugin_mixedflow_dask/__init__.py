"""The name under which Snakemake discovers ``--executor mixedflow-dask``."""

from mixedflow.plugins.executor import Executor
from mixedflow.plugins.settings import ExecutorSettings, common_settings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]
