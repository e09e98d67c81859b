"""What a run shows to people: `report.html`, and the routing image for TensorBoard."""

from nas.report.data import CODES, Reader, ReportData, RoutingMap, Snapshot, code
from nas.report.image import routing_figure
from nas.report.page import write_report

__all__ = ["CODES", "Reader", "ReportData", "RoutingMap", "Snapshot", "code", "routing_figure", "write_report"]
