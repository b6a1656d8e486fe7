"""What an analysis is: the configuration file, checked, and what the workflow makes of it.

Stands outside the equations of ``docs/algorithm.md``.
"""

from mixedflow.config.dask import DaskConfig, JobQueueConfig, TlsConfig
from mixedflow.config.inference import ComparisonConfig, InferConfig
from mixedflow.config.models import (
    Config,
    ControlConfig,
    DataConfig,
    ModelConfig,
    ReportConfig,
)
from mixedflow.config.reading import check_config, config_text, load_config, parse_config, read_yaml
from mixedflow.config.scans import ScanConfig
from mixedflow.config.sweeps import SweepConfig

__all__ = [
    "ComparisonConfig",
    "Config",
    "ControlConfig",
    "DaskConfig",
    "DataConfig",
    "InferConfig",
    "JobQueueConfig",
    "ModelConfig",
    "ReportConfig",
    "ScanConfig",
    "SweepConfig",
    "TlsConfig",
    "check_config",
    "config_text",
    "load_config",
    "parse_config",
    "read_yaml",
]
