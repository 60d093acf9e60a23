"""The one place that every text for the user goes through, so that it can be translated. Needs no Qt, and no VisTrails.

What is given to :func:`tr` is a literal text, by which translators' tools find it; `parallelflow.gui.texts` says how a
translation is made, and has Qt translate when there is a window. Without one, everything is in English.
"""

from __future__ import annotations

from collections.abc import Callable


def _english(text: str) -> str:
    return text


_translate: Callable[[str], str] = _english


def set_translator(translate: Callable[[str], str] | None) -> None:
    """Have texts translated from now on.

    :param translate: returns an English text, in which ``{names}`` stand where values go, in the user's language; called in
        any thread. None: texts stay as they are
    """
    global _translate
    _translate = translate or _english


def tr(text: str, **values: object) -> str:
    """Return a text in the user's language. May be called in any thread.

    :param text: the English text, with ``{names}`` where values go
    :param values: the values
    """
    translated = _translate(text)
    return translated.format(**values) if values else translated
