"""Python 2 code in workflows of VisTrails 2 and older is converted once and right, or it is said that it was not."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote

import pytest

HAS_CONVERTER = sys.version_info < (3, 13) or importlib.util.find_spec("fissix") is not None


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What VisTrails warns of."""
    from vistrails.core import debug

    warnings: list[str] = []
    monkeypatch.setattr(debug, "warning", lambda text, *_: warnings.append(text))
    return warnings


def converted(code: str) -> str:
    """What becomes of a PythonSource's code, as an upgrade of its workflow makes it."""
    from vistrails.core.modules.basic_modules import src2to3

    made: list[str] = []

    def create_function(_module: Any, name: str, values: list[str]) -> SimpleNamespace:
        assert name == "source"
        made.extend(values)
        return SimpleNamespace()

    old = SimpleNamespace(params=[SimpleNamespace(strValue=quote(code))])
    src2to3(SimpleNamespace(create_function=create_function), "source")(old, SimpleNamespace(id=1, name="PythonSource"))
    (stored,) = made
    assert quote(unquote(stored)) == stored  # quoted, as VisTrails stores code
    return unquote(stored)


@pytest.mark.filterwarnings("ignore:lib2to3")
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print 'a'\n", "# Edited by 2to3\nprint('a')\n"),
        (
            "for i in xrange(3):\r    print '%02d' % i\r",
            "# Edited by 2to3\nfor i in range(3):\n    print('%02d' % i)\n",
        ),
        ("x = 1\r\ny = '%41'", "x = 1\ny = '%41'\n"),
        ("x = file('a')  # a file(s)\n", "# Edited by 2to3\nx = open('a')  # a file(s)\n"),
        ("def file(a): pass\nfile(1); x.file(2)\n", "def file(a): pass\nfile(1); x.file(2)\n"),
        ("self.setResult('a', 1)\n", "# Edited by 2to3\nself.set_output('a', 1)\n"),
        ("", "\n"),
    ],
    ids=[
        "print",
        "carriage returns and percents",
        "nothing to convert",
        "file",
        "a file of its own",
        "VisTrails' old methods",
        "empty",
    ],
)
@pytest.mark.skipif(not HAS_CONVERTER, reason="neither lib2to3 nor fissix is here")
def test_python_2_code_is_converted(said: list[str], code: str, expected: str) -> None:
    once = converted(code)
    assert once == expected
    assert said == []


@pytest.mark.parametrize("code", ["if x\n    print 'a'\n"])
@pytest.mark.filterwarnings("ignore:lib2to3")
def test_code_that_cannot_be_converted_is_kept_and_that_is_said(said: list[str], code: str) -> None:
    assert converted(code) == code
    (sentence,) = said
    assert sentence.startswith("The Python 2 code of a PythonSource was not converted: ")


def test_without_a_converter_it_is_said_and_with_fissix_it_is_one(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "lib2to3"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lib2to3", None)
    code = "print 'a'\n"
    if importlib.util.find_spec("fissix") is not None:
        assert converted(code) == "# Edited by 2to3\nprint('a')\n"
    monkeypatch.setitem(sys.modules, "fissix", None)
    assert converted(code) == code
    (sentence,) = said
    assert "fissix" in sentence
