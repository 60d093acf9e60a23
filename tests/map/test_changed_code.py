"""What engines have loaded of packages and subworkflows that change afterwards, or what these are told, while the engines go on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parity import Stage
from vistrails.core.modules.module_registry import get_module_registry
from vistrails.core.packagemanager import get_package_manager
from workflows import Flow

from parallelflow.cluster import Session
from parallelflow.cluster import session as session_module
from parallelflow.map import kept

CHANGING = """
from vistrails.core.modules.vistrails_module import Module

class Factor(Module):
    _input_ports = [("value", "basic:Integer")]
    _output_ports = [("value", "basic:Integer")]

    def compute(self):
        self.set_output("value", FACTOR * self.get_input("value"))

_modules = [Factor]
"""
IDENTIFIER = "org.vistrails.parallelflow.changing"


def write(folder: Path, factor: int) -> None:
    """Write the package `changing_package`, as the user does who changes it: not within one tick of the clock."""
    package = folder / "userpackages" / "changing_package"
    package.mkdir(exist_ok=True)
    text = f"identifier = {IDENTIFIER!r}\nname = 'changing'\nversion = '0.1'\n"
    (package / "__init__.py").write_text(text)
    (package / "init.py").write_text(f"FACTOR = {factor}\n{'#' * factor}\n{CHANGING}")


def forget() -> None:
    """Disable the package, as the user does to reload it."""
    get_package_manager().late_disable_package("changing_package")
    for name in [name for name in sys.modules if name.startswith("userpackages.changing_package")]:
        del sys.modules[name]


def test_a_package_of_the_users_that_changes_while_engines_go_on_is_not_run_as_it_was(
    vistrails: Any, vistrails_folder: Path, make_session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(engines=1)  # of two, one may begin when the package has changed, and run all
    monkeypatch.setattr(session_module, "_session", session)

    def run(side: str) -> tuple[Any, list[str]]:
        flow = Flow()
        mapped = flow.map(flow.add("Factor", package=IDENTIFIER), "value", "value", "[1, 2, 3]")
        seen = Stage(side).run(flow)
        return seen.outputs[mapped].get("Result"), [message for _, _, message in seen.errors.values()]

    write(vistrails_folder, 2)
    get_package_manager().late_enable_package("changing_package")
    assert run("serial") == run("ours") == ([2, 4, 6], [])
    forget()
    write(vistrails_folder, 3)
    get_package_manager().late_enable_package("changing_package")
    assert run("serial") == ([3, 6, 9], [])
    result, (message,) = run("ours")
    assert result is None
    assert "has loaded other code of the VisTrails package 'changing_package'" in message
    assert "'userpackages.changing_package.init' has changed in between. Start engines anew" in message
    session.stop_started()
    assert run("ours") == ([3, 6, 9], [])
    forget()


def test_a_subworkflow_that_is_not_what_another_vistrails_has_called_so_is_run_as_it_is(parity: Any) -> None:
    """Two that were changed from the same one, and not saved, have one name and one version."""

    def run(factor: int, side: str) -> Any:
        inner = Flow()
        source = inner.python(f"o = {factor} * i", {"i": "Integer"}, {"o": "Integer"})
        inner.inputs, inner.outputs = {"i": (source, "i")}, {"o": (source, "o")}
        flow = Flow()
        mapped = flow.map(flow.subworkflow("changes", inner), "i", "o", "[1, 2, 3]")
        seen = Stage(side).run(flow)
        assert (seen.errors, seen.raised) == ({}, None)
        return seen.outputs[mapped]["Result"]

    for factor in (2, 3):
        for side in ("serial", "ours", "ours"):
            assert run(factor, side) == [factor * i for i in (1, 2, 3)]
        registry = get_module_registry()
        (there,) = [each for each in registry.packages["local.abstractions"].descriptor_list if each.name == "changes"]
        registry.delete_module(there.identifier, there.name, there.namespace)


PREFERRING = """
import time
from vistrails.core.modules.vistrails_module import Module

class Preferred(Module):
    _input_ports = [("value", "basic:Integer")]
    _output_ports = [("value", "basic:Integer")]

    def compute(self):
        time.sleep(0.06)
        self.set_output("value", configuration.factor * self.get_input("value"))

_modules = [Preferred]
"""


def test_preferences_of_a_package_hold_for_engines_that_are_there(
    vistrails: Any,
    vistrails_folder: Path,
    make_session: Callable[..., Session],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    session = make_session(engines=1)
    monkeypatch.setattr(session_module, "_session", session)
    monkeypatch.setattr(kept, "folder", lambda: tmp_path / "results")
    package = vistrails_folder / "userpackages" / "preferring_package"
    package.mkdir()
    identifier = "org.vistrails.parallelflow.preferring"
    (package / "__init__.py").write_text(
        "from vistrails.core.configuration import ConfigurationObject\n"
        f"identifier = {identifier!r}\nname = 'preferring'\nversion = '0.1'\n"
        "configuration = ConfigurationObject(factor=2, other=1)\n"
    )
    (package / "init.py").write_text(PREFERRING)
    manager = get_package_manager()
    manager.late_enable_package("preferring_package")
    preferences = manager.get_package_configuration("preferring_package")

    def prefer(factor: int) -> None:  # as VisTrails' dialog does it
        preferences.factor = factor
        manager.get_package(identifier).persist_configuration()

    def run(side: str, keep: str = "all") -> tuple[Any, list[int]]:
        """What comes out, and for each element whether it was taken from kept results."""
        flow = Flow()
        mapped = flow.map(flow.add("Preferred", package=identifier), "value", "value", "[1, 2]")
        if side == "ours":
            flow.specs[mapped].presets.append(("KeepResults", keep))
        seen = Stage(side).run(flow)
        assert (seen.errors, seen.raised) == ({}, None)
        assert seen.log is not None
        taken = [each.cached for each in seen.log.find("module") if each.name == "Preferred"]
        return seen.outputs[mapped]["Result"], taken

    why = "the preferences of the package 'preferring_package' are not those with which an engine has loaded it"
    try:
        assert run("serial") == run("ours") == ([2, 4], [0, 0])
        assert run("ours") == ([2, 4], [1, 1])
        for factor in (5, 3):
            prefer(factor)
            # What a package has made of its preferences as it was loaded is not known, so nothing of that is kept.
            assert run("serial") == run("ours") == run("ours") == ([factor, 2 * factor], [0, 0])
        assert any(f"Map: Results are not kept: {why}: start engines anew." in each for each in caplog.messages)
        prefer(2)
        assert run("ours") == ([2, 4], [1, 1])
        assert run("ours", "none") == ([2, 4], [0, 0])
        prefer(3)
        session.stop_started()
        assert run("ours") == ([3, 6], [0, 0])
        assert run("ours") == ([3, 6], [1, 1])
    finally:
        manager.late_disable_package("preferring_package")
