"""IPython profiles."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from parallelflow.cluster import ProfileError, Session, Settings
from parallelflow.cluster import profile as profiles


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_profile_is_private_whatever_the_umask(clean_home: Path) -> None:
    before = os.umask(0)
    try:
        folder = profiles.create("mine")
    finally:
        os.umask(before)
    assert folder == clean_home / ".ipython" / "profile_mine"
    assert [mode(folder), mode(folder / "security"), mode(folder / "log")] == [0o700] * 3
    assert profiles.profiles() == ["mine"]


def test_the_profile_default_is_made_when_it_is_missing() -> None:
    folder = profiles.locate("default")
    assert folder.is_dir()
    assert profiles.locate("default") == folder


@pytest.mark.parametrize("text", ["[1]", '"key"', "null", "{", ""])
def test_keys_are_found_whatever_else_lies_beside_them(profile: Path, text: str) -> None:
    security = profiles.security_dir(profile)
    (security / "ipcontroller-client.json").write_text('{"key": "a-b-c", "curve_serverkey": null, "location": "here"}')
    (security / "ipcontroller-other-client.json").write_text(text)
    assert profiles.secrets(profile) == {"a-b-c"}


def test_a_profile_that_does_not_exist_gets_a_sentence_that_names_those_that_do() -> None:
    profiles.create("one")
    profiles.create("two")
    with pytest.raises(ProfileError, match=r"no IPython profile 'three'.*one, two.*ipython profile create"):
        profiles.locate("three")
    session = Session(lambda: Settings(profile="three"))
    for action in (session.client, session.connect, lambda: session.start_engines(1)):
        with pytest.raises(ProfileError, match="'three'"):
            action()
    assert profiles.profiles() == ["one", "two"]


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "x" * 101, "ä"])
def test_a_name_that_cannot_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(ProfileError, match="cannot be the name"):
        profiles.create(name)


def test_folders_that_others_can_read_are_made_private(profile: Path) -> None:
    (profile / "security").chmod(0o755)
    (profile / "log").chmod(0o777)
    profiles.locate("test")
    assert [mode(profile / "security"), mode(profile / "log")] == [0o700] * 2


def test_an_error_in_the_profiles_configuration_gets_a_sentence_that_names_the_file(profile: Path) -> None:
    path = profile / "ipcontroller_config.py"
    path.write_text("c.IPController.ip = nonsense\n")
    session = Session(lambda: Settings(profile="test", engines=1))
    with pytest.raises(ProfileError, match=f"{path} cannot be read: name 'nonsense'"):
        session.client()


def test_changing_to_a_profile_that_does_not_exist_changes_nothing() -> None:
    session = Session()
    with pytest.raises(ProfileError):
        session.change_profile("nowhere")
    assert session.profile == "default"
