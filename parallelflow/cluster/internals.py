"""What ipyparallel keeps to itself and we use all the same: each name once, with the reason and the version it was checked with.

Everything else in the project asks here. A test looks whether the ipyparallel that is installed has each of :data:`NAMES`, and
whether nothing else in the project uses one.

Standard library and ipyparallel only.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple


class Name(NamedTuple):
    """A private name of ipyparallel's.

    :param owner: where it is, an attribute of ``ipyparallel``
    :param name: the name
    :param reason: why the public ones do not do
    :param checked: the newest version of ipyparallel that it was checked with
    """

    owner: str
    name: str
    reason: str
    checked: str = "9.2.0"


NAMES = (
    Name("Client", "_engines", "engines' uuids, by which the hub and nannies know them; `ids` has their numbers only"),
    Name("Client", "_send", "requests to hub and nannies that nobody waits for; the public ones wait for ever"),
    Name("Client", "_query_stream", "the socket to the hub, for the same"),
    Name("Client", "_control_stream", "the socket to engines' nannies, for the same"),
    Name("Client", "_futures", "whether a message is answered that nobody holds a result of"),
    Name("Client", "_closed", "whether the client can be used: every method of one that cannot raises something else"),
    Name("Client", "_config", "the addresses of the controller's parts, as the client uses them"),
    Name(
        "Client",
        "_notification_handlers",
        "the hub's shutdown; the client's own handler closes its sockets while it reads",
    ),
    Name("Client", "_context", "closing a client leaves its ZeroMQ context, and its threads, behind"),
)
"""The names that this module uses."""

LAUNCHER_NAMES = (
    Name(
        "cluster.launcher.BatchSystemLauncher",
        "_run_command",
        "a batch system's command must not hold up everything else",
    ),
    Name("cluster.launcher.BatchSystemLauncher", "_log_output", "it writes to a log that we have instead"),
    Name("cluster.launcher.SSHEngineLauncher", "_reconstruct_process", "it opens a connection for each engine"),
    Name("cluster.launcher.SSHEngineLauncher", "_log_output", "it writes to a log that we have instead"),
    Name("cluster.launcher.SSHEngineLauncher", "_output", "what an engine has said is kept for the error"),
    Name("cluster.launcher.SSHEngineSetLauncher", "_notice_engine_stopped", "a set is over when its engines are"),
)
"""The names that our subclasses in :mod:`.batch` and :mod:`.ssh` use."""

CONTROLLER_NAMES = (
    Name("controller.app.IPController", "mq_class", "what passes messages on sends the hub all that they carry"),
)
"""The names that our subclass in :mod:`.ipyparallel_controller` uses."""

HUB = "_query_stream"
"""The hub itself, for :func:`send`."""

NANNY = "_control_stream"
"""An engine's nanny, or what it passes on to the engine, for :func:`send`."""


def engines(client: Any) -> dict[int, str]:
    """The engines that a client knows: uuids by number, a copy.

    :param client: an ``ipyparallel.Client``
    """
    return dict(client._engines)


def send(client: Any, stream: str, kind: str, content: dict[str, Any], uuid: str | None = None) -> Future[Any]:
    """Send a request.

    :param client: an ``ipyparallel.Client``
    :param stream: :data:`HUB` or :data:`NANNY`
    :param kind: the message type, one that ipyparallel's ``controller/hub.py`` or ``engine/nanny.py``, or ipykernel's
        ``kernelbase.py``, handles
    :param content: the message's content, as JSON has it
    :param uuid: the engine's uuid, for :data:`NANNY`
    :returns: the answer, a message; never done if none comes
    :raises OSError: if the client is closed; also ``zmq.ZMQError`` and RuntimeError while it is being closed
    """
    ident = uuid.encode() if uuid is not None else None
    answer: Future[Any] = client._send(getattr(client, stream), kind, content=content, ident=ident)
    return answer


def answer(client: Any, message: str) -> Future[Any] | None:
    """The answer to a message that was sent, or None if it has come.

    :param client: an ``ipyparallel.Client``
    :param message: the message's id
    """
    future: Future[Any] | None = client._futures.get(message)
    return future


def is_closed(client: Any) -> bool:
    """Whether a client has been closed, by itself or by somebody.

    :param client: an ``ipyparallel.Client``
    """
    return bool(client._closed)


def addresses(client: Any) -> dict[str, Any]:
    """The addresses of the controller's parts, and how it schedules tasks.

    :param client: an ``ipyparallel.Client``
    """
    return dict(client._config)


def on_shutdown(client: Any, handler: Callable[[Any], None]) -> None:
    """Have something done when the hub says that it is shut down, in place of what the client does then.

    :param client: an ``ipyparallel.Client``
    :param handler: is called with the message, in the client's thread
    """
    client._notification_handlers["shutdown_notification"] = handler


def context(client: Any) -> Any:
    """The ``zmq.Context`` of a client.

    :param client: an ``ipyparallel.Client``
    """
    return client._context
