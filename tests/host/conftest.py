"""Fixtures for the host's tests: Debian's VisTrails as it comes, and copies of this project to set up."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from host import debian, environment


@pytest.fixture(scope="session")
def debian_package() -> Path:
    """The file of Debian's VisTrails package; `make setup` keeps it, so this downloads nothing after that."""
    environment.CACHE.mkdir(parents=True, exist_ok=True)
    return debian.fetch(environment.CACHE)


@pytest.fixture(scope="module")
def examples(debian_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of VisTrails' examples, which Debian's package brings."""
    folder = tmp_path_factory.mktemp("deb")
    debian.unpack(debian_package, folder)
    return folder / "usr" / "share" / "doc" / "vistrails" / "examples"


@pytest.fixture
def unpacked(debian_package: Path, tmp_path: Path) -> Path:
    """A fresh folder with Debian's VisTrails, before any repair."""
    return debian.unpack(debian_package, tmp_path / "deb") / "vistrails"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What `make setup` needs of this project, with nothing set up."""
    copy = tmp_path / "clone"
    copy.mkdir()
    for name in ("Makefile", "setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(environment.ROOT / name, copy)
    for name in ("host", "parallelflow"):
        shutil.copytree(environment.ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture
def keep_wheels(clone: Path) -> Callable[[], None]:
    """Gives the clone the VisTrails wheel that this project's own setup made, so that a test need not make it again."""

    def keep() -> None:
        ignore = shutil.ignore_patterns("tmp*", "*.deb", "lock")
        shutil.copytree(environment.CACHE, clone / "build" / "host", ignore=ignore)

    return keep
