"""Tables and figures become a page; computes nothing."""

from mixedflow.report.page import ModelSection, ReportInput, render_report, write_report
from mixedflow.report.scans import ScanSection, render_scan_page, write_scan_page
from mixedflow.report.sweeps import SweepSection, render_sweep_page, write_sweep_page

__all__ = [
    "ModelSection",
    "ReportInput",
    "ScanSection",
    "SweepSection",
    "render_report",
    "render_scan_page",
    "render_sweep_page",
    "write_report",
    "write_scan_page",
    "write_sweep_page",
]
