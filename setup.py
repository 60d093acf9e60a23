"""The distribution vistrails-parallelflow."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def version() -> str:
    # Read, not imported: the package's dependencies are not installed yet.
    text = (ROOT / "parallelflow" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    assert found, "parallelflow/__init__.py has no __version__"
    return found.group(1)


def long_description() -> str:
    readme = ROOT / "README.rst"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


setup(
    name="vistrails-parallelflow",
    version=version(),
    description="Runs the elements of a VisTrails Map in parallel, on an IPython cluster",
    long_description=long_description(),
    long_description_content_type="text/x-rst",
    author="Parallel Flow for VisTrails developers",
    license="BSD-3-Clause",
    license_files=["LICENSE"],
    keywords=["vistrails", "provenance", "workflow", "dataflow", "parallel", "ipython", "ipyparallel", "cluster"],
    classifiers=[
        "Development Status :: 5 - Production/Stable",
        "Environment :: Plugins",
        "Environment :: X11 Applications :: Qt",
        "Framework :: IPython",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering",
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=find_packages(include=["parallelflow", "parallelflow.*"]),
    package_data={"parallelflow": ["py.typed"]},
    # Engines of ipyparallel 9.0.0 and 9.0.1 never run a task where ipykernel is 7 or newer.
    install_requires=[
        "ipyparallel>=9.0.2",
        "ipython>=8.10",
        "pyzmq>=25",
        "psutil>=6",
        "cloudpickle>=2.2",
        "filelock>=3.25",
    ],
    extras_require={
        # pytest-xdist 3.8 cannot tell from pytest 9.2's names which tests go together. The oldest coverage that has the option
        # `patch` of pyproject.toml.
        "dev": [
            "pytest<9.2",
            "pytest-timeout",
            "pytest-xdist",
            "coverage>=7.10",
            "ruff",
            "mypy",
            "matplotlib",
            "hypothesis",
        ],
        "demo": ["matplotlib"],
        "docs": ["sphinx"],
        "bench": ["joblib"],
    },
    entry_points={
        # VisTrails knows a package by its codepath, the last component of the module, and the first one found wins. It
        # bundles a package `parallelflow` of its own, so an entry point for the module `parallelflow` would be ignored.
        "vistrails.packages": ["parallelflow = parallelflow.ipyparallel_flow"],
    },
)
