"""Measures click models by the field's protocols, on any data set, and writes a report: `python -m utils.benchmark`."""
