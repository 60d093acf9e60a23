"""How a command answers: sentences and tables for people, or one JSON object for programs."""

from __future__ import annotations

import codecs
import io
import json
import sys
from collections.abc import Sequence
from typing import Any

FINE = 0
FAILED = 1
INTERRUPTED = 130


def survive_any_encoding() -> None:
    """Write what the terminal's or the file's encoding does not have as an escape sequence, on both streams."""
    codecs.register_error(__name__, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=__name__)


def _escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = _in_letters(error.object[error.start : error.end])
    return text.encode(error.encoding, "backslashreplace"), error.end


def _in_letters(text: str) -> str:
    """Return a text in which names of files are in letters: where Python takes names for ASCII (``LC_ALL=C``), it has bytes."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # there are halves of characters in it
        return text


def _as_json(content: dict[str, Any]) -> str:
    letters = json.loads(_in_letters(json.dumps(content, ensure_ascii=False)))
    return json.dumps(letters, indent=1)


class Output:
    """Where a command's answer goes.

    :param as_json: whether programs read it: one JSON object on standard output, and nothing else there
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._shown = ""

    def answer(self, text: str, content: dict[str, Any]) -> None:
        """Give the answer, for people or as JSON.

        :param text: for people
        :param content: the same for programs, as JSON has it
        """
        self._end_line()
        print(_as_json(content) if self._as_json else text)

    def fail(self, sentence: str) -> None:
        """Say why there is no answer; in JSON it is the value of ``error``.

        :param sentence: what happened, and what to do
        """
        self._end_line()
        if self._as_json:
            print(_as_json({"error": sentence}))
        print(sentence, file=sys.stderr)

    def warn(self, sentence: str) -> None:
        """Say what does not end the command, on standard error.

        :param sentence: what it is
        """
        self._end_line()
        print(sentence, file=sys.stderr)

    def progress(self, text: str, fraction: float) -> None:
        """Show how far something has come, on one line of a terminal; nothing where there is none.

        :param text: what is waited for
        :param fraction: how much is done, from 0 to 1; not shown
        """
        if sys.stderr.isatty() and text != self._shown:
            self._shown = text
            sys.stderr.write(f"\r\x1b[K{text} ...")
            sys.stderr.flush()

    def _end_line(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            self._shown = ""


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table in columns; numbers are at their column's right end.

    :param head: the columns' titles
    :param rows: the cells, row by row, as many as there are titles
    """
    texts = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]
    numbers = [bool(rows) and all(isinstance(row[column], (int, float)) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        )
        for row in texts
    ]
    return "\n".join(line.rstrip() for line in lines)
