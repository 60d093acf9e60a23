"""The distribution of an example package for VisTrails that uses Parallel Flow's API."""

from setuptools import setup

setup(
    name="vistrails-bootstrap-example",
    version="1.0",
    description="Confidence intervals by the bootstrap, as a VisTrails module that uses all engines of a cluster",
    license="BSD-3-Clause",
    python_requires=">=3.10",
    packages=["bootstrap_example"],
    install_requires=["vistrails-parallelflow", "numpy"],
    # VisTrails finds packages by this group. It knows a package by the last part of the module's name, which must not be
    # the name of one that it has already.
    entry_points={"vistrails.packages": ["bootstrap_example = bootstrap_example"]},
)
