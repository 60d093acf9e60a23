"""The preferences that concern the cluster: their names, defaults, documentation and allowed values, each written once.

Knows nothing of where preferences are kept: the layer above builds its configuration from :data:`PREFERENCES` and hands a
mapping to :meth:`Settings.from_mapping`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias, TypeVar

from parallelflow.texts import tr

from .errors import ProfileError, SettingsError
from .profile import check_name

_T = TypeVar("_T", str, int, float, bool)
Value: TypeAlias = str | int | float | bool

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")
MOST_ENGINES = 10_000
LONGEST_WAIT = 86_400.0
MOST_DEATHS = 100
MOST_GIGABYTES = 10_000


def _preference(
    default: _T, documentation: Callable[[], str], allowed: Callable[[], str], read: Callable[[object], _T]
) -> Any:
    # Texts are asked for when they are needed: only then it is known in which language.
    return field(default=default, metadata={"doc": documentation, "allowed": allowed, "read": read})


def _profile_name(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    try:
        check_name(value)
    except ProfileError as error:
        raise ValueError from error
    return value


def _one_of(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        word = value.strip().lower() if isinstance(value, str) else ""
        if word not in words:
            raise ValueError
        return word

    return read


def _count(value: object) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError
    if not isinstance(value, (int, float, str)):
        raise ValueError
    number = int(value)
    if not 0 <= number <= MOST_ENGINES:
        raise ValueError
    return number


def _times(value: object) -> int:
    number = _count(value)
    if not 1 <= number <= MOST_DEATHS:
        raise ValueError
    return number


def _gigabytes(value: object) -> int:
    number = _count(value)
    if not 1 <= number <= MOST_GIGABYTES:
        raise ValueError
    return number


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError
    number = float(value)
    if not math.isfinite(number) or not 0.5 <= number <= LONGEST_WAIT:
        raise ValueError
    return number


def _yes_or_no(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in _TRUE + _FALSE:
        raise ValueError
    return word in _TRUE


def _a_wait() -> str:
    return tr("a number of seconds from 0.5 to {most}", most=round(LONGEST_WAIT))


@dataclass(frozen=True)
class Settings:
    """The cluster preferences, validated. Times are in seconds."""

    profile: str = _preference(
        "default",
        lambda: tr("The IPython profile whose cluster is used, and started if there is none."),
        lambda: tr("the name of an IPython profile: letters, digits, '.', '_' and '-'"),
        _profile_name,
    )
    engines: int = _preference(
        0,
        lambda: tr(
            "How many engines are started when none are running; 0 means one for each core that VisTrails may use."
        ),
        lambda: tr("a whole number from 0 to {most}", most=MOST_ENGINES),
        _count,
    )
    threads_per_engine: int = _preference(
        0,
        lambda: tr(
            "How many threads numerical libraries (BLAS, OpenMP) may use in each engine; 0 means its share of this machine's cores,"
            " unless an environment variable such as OMP_NUM_THREADS says so."
        ),
        lambda: tr("a whole number from 0 to {most}", most=MOST_ENGINES),
        _count,
    )
    if_no_engines: str = _preference(
        "ask",
        lambda: tr(
            "What a Map does that finds no engines: 'ask' asks whether to start some (in batch mode it starts them), 'auto'"
            " starts them, 'never' fails with a message."
        ),
        lambda: tr("'ask', 'auto' or 'never'"),
        _one_of("ask", "auto", "never"),
    )
    start_timeout: float = _preference(
        60.0,
        lambda: tr(
            "How many seconds a controller and its engines may take to become ready before the start counts as failed."
        ),
        _a_wait,
        _seconds,
    )
    stop_timeout: float = _preference(
        10.0,
        lambda: tr(
            "How many seconds stopping may take. Processes are first asked to end and, after a third of this time, killed."
        ),
        _a_wait,
        _seconds,
    )
    connect_timeout: float = _preference(
        10.0,
        lambda: tr("How many seconds a controller that is known to run may take to answer."),
        _a_wait,
        _seconds,
    )
    ready_timeout: float = _preference(
        120.0,
        lambda: tr("How many seconds an engine may take to start VisTrails and load the packages that a Map needs."),
        _a_wait,
        _seconds,
    )
    no_engine_timeout: float = _preference(
        10.0,
        lambda: tr(
            "How many seconds a Map that has no engine left waits for another one before it fails. With keep_engines, it waits"
            " at least as long as start_timeout."
        ),
        _a_wait,
        _seconds,
    )
    keep_engines: bool = _preference(
        False,
        lambda: tr(
            "Whether as many engines are started again when some that VisTrails started end by themselves while a Map runs, as"
            " those of a batch system do at their job's time limit."
        ),
        lambda: tr("True or False"),
        _yes_or_no,
    )
    deaths: int = _preference(
        2,
        lambda: tr(
            "How many engines an element may take with it before it counts as what ended them. Those that a batch system ended"
            " do not count."
        ),
        lambda: tr("a whole number from 1 to {most}", most=MOST_DEATHS),
        _times,
    )
    at_exit: str = _preference(
        "stop",
        lambda: tr(
            "What becomes of the processes that VisTrails started when it exits: 'stop' ends them, 'leave' lets them run on"
            " for the next session."
        ),
        lambda: tr("'stop' or 'leave'"),
        _one_of("stop", "leave"),
    )
    after_crash: str = _preference(
        "ask",
        lambda: tr(
            "What becomes of processes that a VisTrails left behind which crashed or was killed: 'stop', 'take back', or"
            " 'ask' (in batch mode they are taken back)."
        ),
        lambda: tr("'ask', 'stop' or 'take back'"),
        _one_of("ask", "stop", "take back"),
    )
    encryption: bool = _preference(
        False,
        lambda: tr(
            "Whether controllers that VisTrails starts encrypt all their traffic (CurveZMQ). Without it, messages are signed."
        ),
        lambda: tr("True or False"),
        _yes_or_no,
    )
    keep_results: str = _preference(
        "failed",
        lambda: tr(
            "Which results of a Map's elements are kept, so that they need not run again: 'failed' keeps them until the Map has"
            " completed once, 'all' longer than that, 'none' keeps none."
        ),
        lambda: tr("'failed', 'all' or 'none'"),
        _one_of("failed", "all", "none"),
    )
    results_limit: int = _preference(
        10,
        lambda: tr("How many gigabytes of results are kept at most; those that were not used for longest go first."),
        lambda: tr("a whole number from 1 to {most}", most=MOST_GIGABYTES),
        _gigabytes,
    )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object]) -> Settings:
        """Settings from preferences as they are stored.

        :param mapping: preference names and values; numbers and booleans may be given as text. Names that are not cluster
            preferences are ignored, missing ones and None mean the default.
        :raises SettingsError: for a value that is not allowed; the sentence names the preference, its value and what is allowed
        """
        values: dict[str, Value] = {}
        for entry in fields(cls):
            value = mapping.get(entry.name)
            if value is None:
                continue
            try:
                values[entry.name] = entry.metadata["read"](value)
            except (ValueError, OverflowError):
                raise SettingsError(
                    tr(
                        "The preference '{name}' of Parallel Flow has the value {value}, which is not allowed; it must be"
                        " {allowed}.",
                        name=entry.name,
                        value=repr(value),
                        allowed=entry.metadata["allowed"](),
                    )
                ) from None
        return cls(**values)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Preference:
    """One preference as the layer above shows it.

    :param key: its name, an attribute of :class:`Settings`
    :param default: its default value, of the type that it has
    :param describe: returns what :attr:`documentation` is
    """

    key: str
    default: Value
    describe: Callable[[], str]

    @property
    def documentation(self) -> str:
        """One line for the user."""
        return self.describe()


PREFERENCES: tuple[Preference, ...] = tuple(
    Preference(entry.name, entry.default, entry.metadata["doc"])  # type: ignore[arg-type]
    for entry in fields(Settings)
)
