"""Evaluation suites: what a trained run can do with text at any length; see `nas.suites.run`."""
