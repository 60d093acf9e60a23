"""``python -m parallelflow enable``, and VisTrails with the settings that it makes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from parallelflow.cluster import profile as profiles
from parallelflow.command_line import main

pytestmark = pytest.mark.slow

_OLD = """<startup version="0.1">
  <!-- a remark -->
  <configuration><key name="showSplash"><bool value="False"/></key></configuration>
  <packages>
    <package name="tabledata"/>
    <package name="parallelflow"><configuration><key name="old"><str value="kept"/></key></configuration></package>
  </packages>
  <disabledpackages>
    <package name="ipyparallel_flow"><configuration><key name="profile"><str value="hpc"/></key></configuration></package>
  </disabledpackages>
</startup>"""

_LOOK = """
import json, sys
import vistrails.core.application
options = {"batch": True, "installBundles": False, "errorLog": False, "singleInstance": False, "dotVistrails": sys.argv[1]}
application = vistrails.core.application.init(options, args=[])
from vistrails.core.packagemanager import get_package_manager
manager = get_package_manager()
profile = manager.get_package_configuration("ipyparallel_flow").profile
print("SEEN" + json.dumps([profile, sorted(package.codepath for package in manager.enabled_package_list())]))
"""


def names(path: Path, group: str) -> list[str]:
    return [entry.get("name", "") for entry in ElementTree.parse(path).getroot().findall(f"{group}/package")]


def test_a_users_settings_are_changed_only_where_they_must_be(
    clean_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = clean_home / "settings"
    folder.mkdir()
    path = folder / "startup.xml"
    path.write_text(_OLD)
    path.chmod(0o640)
    assert main(["enable", "--vistrails-dir", str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["file"] == str(path)
    assert len(said["changes"]) == 3
    assert Path(said["backup"]).read_text() == _OLD
    assert path.stat().st_mode & 0o777 == 0o640
    assert names(path, "packages") == ["tabledata", "controlflow", "ipyparallel_flow"]
    assert names(path, "disabledpackages") == ["parallelflow"]
    assert "<!-- a remark -->" in path.read_text()
    root = ElementTree.parse(path).getroot()
    values = {key.get("name"): key[0].get("value") for key in root.iter("key")}
    assert values == {"showSplash": "False", "old": "kept", "profile": "hpc"}
    # Once more changes nothing.
    before = path.read_text()
    assert main(["enable", "--vistrails", str(folder)]) == 0
    assert "enabled already" in capsys.readouterr().out
    assert path.read_text() == before
    assert len(list(folder.iterdir())) == 2


def test_vistrails_that_was_never_started_starts_with_the_package(
    clean_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profiles.create("hpc")
    assert main(["enable", "--profile", "hpc"]) == 0
    assert "as its first start would" in capsys.readouterr().out
    folder = clean_home / ".vistrails"
    result = subprocess.run(
        [sys.executable, "-c", _LOOK, str(folder)], capture_output=True, text=True, timeout=800, check=True
    )
    profile, enabled = json.loads(result.stdout.split("SEEN")[1])
    assert profile == "hpc"
    assert "ipyparallel_flow" in enabled
    assert "parallelflow" not in enabled


def test_a_link_to_the_settings_stays_one(clean_home: Path) -> None:
    kept = clean_home / "kept.xml"
    kept.write_text(_OLD)
    link = clean_home / ".vistrails" / "startup.xml"
    link.parent.mkdir()
    link.symlink_to(kept)
    assert main(["enable"]) == 0
    assert link.is_symlink()
    assert "ipyparallel_flow" in names(kept, "packages")


@pytest.mark.parametrize("text", ["<startup", '<?xml version="1.0" encoding="bogus"?><startup/>', ""])
def test_settings_that_cannot_be_read_are_left_alone(
    text: str, clean_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = clean_home / ".vistrails"
    folder.mkdir()
    path = folder / "startup.xml"
    path.write_text(text)
    assert main(["enable"]) == 1
    assert "is damaged" in capsys.readouterr().err
    assert path.read_text() == text
