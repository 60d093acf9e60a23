"""Parallel Flow for VisTrails: runs the elements of a Map in parallel, on an IPython cluster."""

__version__ = "1.0.0"

IDENTIFIER = "org.vistrails.parallelflow"
"""What VisTrails knows the package by, in every workflow that has our modules; its version there is ours."""

OLD_IDENTIFIERS = ("edu.poly.vistrails.parallel_flow",)
"""What workflows have that were made with the package which VisTrails bundles."""
