"""The preferences, as they are read."""

from __future__ import annotations

import dataclasses

import pytest

from parallelflow.cluster import PREFERENCES, Settings, SettingsError


def test_every_preference_has_a_default_and_one_line_of_documentation() -> None:
    assert [p.key for p in PREFERENCES] == [f.name for f in dataclasses.fields(Settings)]
    for preference in PREFERENCES:
        assert preference.default == getattr(Settings(), preference.key)
        assert preference.documentation.endswith(".")
        assert "\n" not in preference.documentation


def test_the_defaults_pass_their_own_validation() -> None:
    assert Settings.from_mapping({p.key: p.default for p in PREFERENCES}) == Settings()


def test_missing_unknown_and_empty_preferences_mean_the_default() -> None:
    assert Settings.from_mapping({"profile": None, "something_else": 3}) == Settings()


def test_values_may_be_given_as_text() -> None:
    read = Settings.from_mapping(
        {"engines": "4", "start_timeout": "7.5", "encryption": "yes", "if_no_engines": " Never "}
    )
    assert read == Settings(engines=4, start_timeout=7.5, encryption=True, if_no_engines="never")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("profile", ""),
        ("profile", "../other"),
        ("profile", 3),
        ("engines", -1),
        ("engines", 2.5),
        ("engines", "many"),
        ("engines", True),
        ("engines", 10**9),
        ("threads_per_engine", -1),
        ("threads_per_engine", "some"),
        ("if_no_engines", "perhaps"),
        ("start_timeout", 0),
        ("start_timeout", float("nan")),
        ("stop_timeout", float("inf")),
        ("connect_timeout", "soon"),
        ("at_exit", "kill"),
        ("after_crash", 1),
        ("encryption", "maybe"),
    ],
)
def test_a_wrong_value_gets_a_sentence_that_names_it_and_says_what_is_allowed(key: str, value: object) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_mapping({key: value})
    text = str(caught.value)
    assert f"'{key}'" in text
    assert repr(value) in text
    assert "must be" in text
    assert text.endswith(".")
