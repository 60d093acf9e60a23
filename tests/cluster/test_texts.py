"""What the cluster says to the user can be translated, without Qt."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parallelflow.cluster import PREFERENCES, Cancelled, NoEngines, Session, Settings, SettingsError, StartError
from parallelflow.texts import set_translator, tr

Make = Callable[..., Session]


@pytest.fixture(autouse=True)
def quotes() -> Iterator[None]:
    """A language that puts each text into quotes."""
    set_translator(lambda text: f"«{text}»")
    yield
    set_translator(None)


def test_values_are_put_into_the_translated_text() -> None:
    assert tr("{count} of {all}", count=1, all="{all}") == "«1 of {all}»"
    assert tr("{no names}") == "«{no names}»"
    set_translator(None)
    assert tr("{count} of {all}", count=1, all=2) == "1 of 2"


def test_errors_and_progress_come_out_translated(profile: Path, make_session: Make) -> None:
    with pytest.raises(NoEngines, match=r"^«There are no engines: .*profile 'test'.*» «Start some .*profile=test»$"):
        make_session(profile="test", if_no_engines="never").client()
    # What fails here is a process of ipyparallel's; what that says itself stays as it is.
    (profile / "ipcontroller_config.py").write_text("c.IPController.transport = 'pigeon'\n")
    seen: list[str] = []
    with pytest.raises(
        StartError, match=r"^«The controller ended with exit status 1 [^»]*» «Its log is [^»]*» «The log"
    ):
        make_session(profile="test").start_engines(1, lambda text, fraction: seen.append(text))
    assert "«Starting the controller»" in seen
    assert all(text[0] == "«" and text[-1] == "»" for text in seen)
    with pytest.raises(Cancelled, match=r"^«Cancelled"):
        make_session(profile="test").start_engines(1, cancelled=lambda: True)


def test_preferences_are_explained_and_refused_in_the_language_that_counts_then() -> None:
    assert all(each.documentation.startswith("«") for each in PREFERENCES)
    with pytest.raises(
        SettingsError, match=r"^«The preference 'engines' .* it must be «a whole number from 0 to 10000»\.»$"
    ):
        Settings.from_mapping({"engines": -1})


def test_threads_may_ask_for_texts() -> None:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(tr("a text")))
    thread.start()
    thread.join()
    assert found == ["«a text»"]
