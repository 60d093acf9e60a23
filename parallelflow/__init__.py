"""Parallel Flow for VisTrails: runs the elements of a Map in parallel, on an IPython cluster."""

__version__ = "1.0.0"
