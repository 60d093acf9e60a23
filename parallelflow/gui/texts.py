"""Every text that the user reads goes through here, so that it can be translated and is worded the same everywhere.

A translator extracts the texts with PyQt's ``pylupdate5``, translates the file that it writes, for German say, in Qt
Linguist, and turns it into a ``.qm`` file with Qt's ``lrelease``::

    pylupdate5 -tr-function tr -tr-function tr_count parallelflow/*.py parallelflow/cluster/*.py parallelflow/map/*.py \\
        parallelflow/gui/*.py parallelflow/ipyparallel_flow/*.py -ts de.ts

For this, what is given to :func:`tr` and :func:`tr_count` must be literal texts. The translation is used from when the
application installs a ``QTranslator`` with it. What the rooms without Qt say goes through `parallelflow.texts`, which this
module has Qt translate: errors of the cluster, for instance, come here as sentences in the user's language.
"""

from __future__ import annotations

import time

from PyQt5.QtCore import QCoreApplication, QDateTime, QLocale

from parallelflow.cluster.state import LEFT, OTHER_VISTRAILS, OTHERS, VISTRAILS
from parallelflow.texts import set_translator, tr

__all__ = [
    "age",
    "both",
    "controllers",
    "duration",
    "elements",
    "engine_state",
    "engines",
    "host",
    "hosts",
    "kind",
    "memory",
    "moment",
    "percent",
    "processes",
    "starter",
    "tr",
    "tr_count",
]

_CONTEXT = "@default"  # where pylupdate5 puts the texts of functions

set_translator(lambda text: QCoreApplication.translate(_CONTEXT, text))


def tr_count(many: str, one: str, count: int, **values: object) -> str:
    """Return a text about a number of things, in the user's language, which may have more forms than English.

    :param many: the English text for any number but one; Qt puts the number in the place of ``%Ln``
    :param one: the English text for one thing; translators see it beside the other
    :param count: how many
    :param values: the values of ``{names}``
    """
    translated = QCoreApplication.translate(_CONTEXT, many, one, count)
    number = QLocale().toString(count)
    if count == 1 and translated == many.replace("%Ln", number):
        translated = one.replace("%Ln", number)  # nobody has translated it
    return translated.format(**values) if values else translated


def engines(count: int) -> str:
    """Return, for instance, '3 engines'.

    :param count: how many
    """
    return tr_count("%Ln engines", "%Ln engine", count)


def hosts(count: int) -> str:
    """Return, for instance, '2 hosts'.

    :param count: how many
    """
    return tr_count("%Ln hosts", "%Ln host", count)


def controllers(count: int) -> str:
    """Return, for instance, '1 controller'.

    :param count: how many
    """
    return tr_count("%Ln controllers", "%Ln controller", count)


def processes(count: int) -> str:
    """Return, for instance, '5 processes'.

    :param count: how many
    """
    return tr_count("%Ln processes", "%Ln process", count)


def elements(first: int, count: int) -> str:
    """Return, for instance, '30 to 39': some consecutive elements, by index.

    :param first: the first one's index
    :param count: how many, at least 1
    """
    return f"{first}" if count == 1 else tr("{first} to {last}", first=first, last=first + count - 1)


def both(one: str, other: str) -> str:
    """Join two things: '1 controller and 2 engines'; one that is empty is left out.

    :param one: a text, or ''
    :param other: a text, or ''
    """
    return tr("{one} and {other}", one=one, other=other) if one and other else one or other


def kind(name: str) -> str:
    """Return what a process is, from the kind that the cluster gives it.

    :param name: ``controller``, ``engine`` or ``job``
    """
    if name == "controller":
        return tr("Controller")
    if name == "engine":
        return tr("Engine")
    return tr("Engines of a batch job")


def starter(started_by: str) -> str:
    """Return who started a controller, from one of the constants of `parallelflow.cluster.state`.

    :param started_by: the constant
    """
    return {
        VISTRAILS: tr("this VisTrails"),
        LEFT: tr("an earlier VisTrails, which left it running"),
        OTHER_VISTRAILS: tr("another VisTrails"),
        OTHERS: tr("somebody else"),
    }.get(started_by, started_by)


def engine_state(state: str) -> str:
    """Return what an engine does, from the state that the cluster gives it.

    :param state: as :class:`parallelflow.cluster.state.EngineState` has it
    """
    return {
        "idle": tr("idle"),
        "busy": tr("busy"),
        "stopped": tr("suspended"),
        "silent": tr("does not answer"),
    }.get(state, state)


def host(name: str, here: bool) -> str:
    """Return a machine's name; of this one, that it is this one.

    :param name: its name, or '' if it is not known yet
    :param here: whether it is this one
    """
    if not name:
        return tr("not known yet")
    return tr("{host} (this machine)", host=name) if here else name


def moment(epoch: float | None) -> str:
    """Return a point in time: the time of today, else day and time; '' for None.

    :param epoch: in seconds since the epoch
    """
    if epoch is None:
        return ""
    then = QDateTime.fromSecsSinceEpoch(int(epoch))
    locale = QLocale()
    if then.date() == QDateTime.currentDateTime().date():
        return locale.toString(then.time(), QLocale.FormatType.ShortFormat)
    return locale.toString(then, QLocale.FormatType.ShortFormat)


def age(epoch: float | None) -> str:
    """Return how long ago a point in time is; '' for None.

    :param epoch: in seconds since the epoch
    """
    return "" if epoch is None else duration(time.time() - epoch)


def duration(seconds: float) -> str:
    """Return a duration in the two units that matter, such as '3 min 20 s'.

    :param seconds: the duration
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return tr("{seconds} s", seconds=whole)
    if whole < 3600:
        return tr("{minutes} min {seconds} s", minutes=whole // 60, seconds=whole % 60)
    if whole < 86400:
        return tr("{hours} h {minutes} min", hours=whole // 3600, minutes=whole % 3600 // 60)
    return tr("{days} d {hours} h", days=whole // 86400, hours=whole % 86400 // 3600)


def memory(size: int | None) -> str:
    """Return a size, such as '120.5 MiB'; '' for None.

    :param size: in bytes
    """
    return "" if size is None else QLocale().formattedDataSize(size, 1)


def percent(value: float | None) -> str:
    """Return a share, such as '98 %'; '' for None.

    :param value: in percent
    """
    return "" if value is None else tr("{value} %", value=QLocale().toString(round(value)))
