"""Every text that the user reads goes through here, so that it can be translated and is worded the same everywhere.

Translators extract the texts with ``pylupdate5 -tr-function tr parallelflow/gui/*.py``. Errors of the cluster are
sentences already and are shown as they are.
"""

from __future__ import annotations

import socket
import time

from PyQt5.QtCore import QCoreApplication, QDateTime, QLocale

from parallelflow.cluster.state import LEFT, OTHER_VISTRAILS, OTHERS, VISTRAILS

_CONTEXT = "ParallelFlow"


def tr(text: str, **values: object) -> str:
    """Return a text in the user's language.

    :param text: the English text, with ``{names}`` where values go
    :param values: the values
    """
    translated = QCoreApplication.translate(_CONTEXT, text)
    return translated.format(**values) if values else translated


def tr_count(count: int, one: str, many: str, **values: object) -> str:
    """Return a text about a number of things, in the user's language.

    :param count: how many; the value of ``{count}``
    :param one: the English text for one thing
    :param many: the English text for any other number
    """
    translated = QCoreApplication.translate(_CONTEXT, one if count == 1 else many, None, count)
    return translated.format(count=QLocale().toString(count), **values)


def engines(count: int) -> str:
    """Return, for instance, '3 engines'."""
    return tr_count(count, "{count} engine", "{count} engines")


def hosts(count: int) -> str:
    """Return, for instance, '2 hosts'."""
    return tr_count(count, "{count} host", "{count} hosts")


def controllers(count: int) -> str:
    """Return, for instance, '1 controller'."""
    return tr_count(count, "{count} controller", "{count} controllers")


def processes(count: int) -> str:
    """Return, for instance, '5 processes'."""
    return tr_count(count, "{count} process", "{count} processes")


def elements(first: int, count: int) -> str:
    """Return, for instance, '30 to 39': some consecutive elements, by index."""
    return f"{first}" if count == 1 else tr("{first} to {last}", first=first, last=first + count - 1)


def both(one: str, other: str) -> str:
    """Join two things: '1 controller and 2 engines'; one that is empty is left out."""
    return tr("{one} and {other}", one=one, other=other) if one and other else one or other


def kind(name: str, count: int = 1) -> str:
    """Return what a process is, from the kind that the cluster gives it."""
    if name == "controller":
        return tr_count(count, "Controller", "Controllers")
    if name == "engine":
        return tr_count(count, "Engine", "Engines")
    return tr("Engines of a batch job")


def starter(started_by: str) -> str:
    """Return who started a controller, from one of the constants of `parallelflow.cluster.state`."""
    return {
        VISTRAILS: tr("this VisTrails"),
        LEFT: tr("an earlier VisTrails, which left it running"),
        OTHER_VISTRAILS: tr("another VisTrails"),
        OTHERS: tr("somebody else"),
    }.get(started_by, started_by)


def engine_state(state: str) -> str:
    """Return what an engine does, from the state that the cluster gives it."""
    return {
        "idle": tr("idle"),
        "busy": tr("busy"),
        "stopped": tr("suspended"),
        "silent": tr("does not answer"),
    }.get(state, state)


def host(name: str) -> str:
    """Return a machine's name; of this one, that it is this one."""
    if not name:
        return tr("not known yet")
    return tr("{host} (this machine)", host=name) if name == socket.gethostname() else name


def moment(epoch: float | None) -> str:
    """Return a point in time, given in seconds since the epoch: the time of today, else day and time."""
    if epoch is None:
        return ""
    then = QDateTime.fromSecsSinceEpoch(int(epoch))
    locale = QLocale()
    if then.date() == QDateTime.currentDateTime().date():
        return locale.toString(then.time(), QLocale.FormatType.ShortFormat)
    return locale.toString(then, QLocale.FormatType.ShortFormat)


def age(epoch: float | None) -> str:
    """Return how long ago a point in time is, given in seconds since the epoch."""
    return "" if epoch is None else duration(time.time() - epoch)


def duration(seconds: float) -> str:
    """Return a duration in the two units that matter, such as '3 min 20 s'."""
    whole = max(0, round(seconds))
    if whole < 60:
        return tr("{seconds} s", seconds=whole)
    if whole < 3600:
        return tr("{minutes} min {seconds} s", minutes=whole // 60, seconds=whole % 60)
    if whole < 86400:
        return tr("{hours} h {minutes} min", hours=whole // 3600, minutes=whole % 3600 // 60)
    return tr("{days} d {hours} h", days=whole // 86400, hours=whole % 86400 // 3600)


def memory(size: int | None) -> str:
    """Return a size in bytes, such as '120.5 MiB'."""
    return "" if size is None else QLocale().formattedDataSize(size, 1)


def percent(value: float | None) -> str:
    """Return a share in percent, such as '98 %'."""
    return "" if value is None else tr("{value} %", value=QLocale().toString(round(value)))
