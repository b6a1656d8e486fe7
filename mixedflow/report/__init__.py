"""Tables and figures become a page; computes nothing."""

from mixedflow.report.page import ModelSection, ReportInput, render_report, write_report

__all__ = ["ModelSection", "ReportInput", "render_report", "write_report"]
