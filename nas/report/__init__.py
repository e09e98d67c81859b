"""What a run shows to people: `report.html`, and the routing image for TensorBoard."""

from nas.report.data import ReportData, RoutingMap
from nas.report.image import routing_figure
from nas.report.page import write_report

__all__ = ["ReportData", "RoutingMap", "routing_figure", "write_report"]
