"""What passes messages on in a controller of ours: all of each to whom it is for, and to the hub what it needs."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq
from helpers import until
from ipyparallel.controller import app
from traitlets.config import Config

from parallelflow.cluster import Session, ipyparallel_controller, relay

Make = Callable[..., Session]

MEGABYTES = 150
MESSAGE = [b"<IDS|MSG>", b"signature", b"header", b"parent", b"metadata", b"content"]


class Parts:
    """A relay in a thread, and who sends and receives by it."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        clients, engines, hub = (self._socket(kind) for kind in (zmq.ROUTER, zmq.ROUTER, zmq.PUB))
        hub.setsockopt(zmq.SNDHWM, 0)
        self.hub = self._socket(zmq.SUB)
        self.hub.setsockopt(zmq.SUBSCRIBE, b"")
        self.client, self.engine = self._socket(zmq.DEALER, b"client"), self._socket(zmq.DEALER, b"engine")
        for bound, connected in ((clients, self.client), (engines, self.engine), (hub, self.hub)):
            bound.bind(f"inproc://{id(bound)}")
            connected.connect(f"inproc://{id(bound)}")
        self._thread = threading.Thread(target=self._run, args=(clients, engines, hub))
        self._thread.start()
        # What subscribes is known a little later, and an engine's name as soon as something has come from it.
        deadline = time.monotonic() + 60
        while not self.hub.poll(10):
            assert time.monotonic() < deadline
            self.engine.send_multipart([b"client", b"ready"])
        self.engine.send_multipart([b"client", b"begin"])
        for each in (self.hub, self.client):
            while each.recv_multipart()[-1] != b"begin":
                pass

    def _socket(self, kind: int, name: bytes = b"") -> Any:
        socket: Any = self._context.socket(kind)
        socket.linger = 0
        socket.rcvtimeo = 60_000
        if name:
            socket.setsockopt(zmq.IDENTITY, name)
        return socket

    def _run(self, *sockets: Any) -> None:
        with contextlib.suppress(zmq.ContextTerminated):
            relay.relay(*sockets, b"in", b"out")
        for socket in sockets:
            socket.close()

    def close(self) -> None:
        """End all of it."""
        for socket in (self.client, self.engine, self.hub):
            socket.close()
        self._context.term()
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.fixture
def parts() -> Iterator[Parts]:
    parts = Parts()
    yield parts
    parts.close()


def test_whom_it_is_for_gets_all_of_a_message_and_the_hub_what_comes_before_the_buffers(parts: Parts) -> None:
    parts.client.send_multipart([b"engine", *MESSAGE, b"buffer", b"another"])
    assert parts.engine.recv_multipart() == [b"client", *MESSAGE, b"buffer", b"another"]
    assert parts.hub.recv_multipart() == [b"in", b"engine", b"client", *MESSAGE]
    parts.engine.send_multipart([b"client", *MESSAGE, b"result"])
    assert parts.client.recv_multipart() == [b"engine", *MESSAGE, b"result"]
    assert parts.hub.recv_multipart() == [b"out", b"client", b"engine", *MESSAGE]


def test_what_is_no_message_holds_up_nothing(parts: Parts) -> None:
    for wrong in ([b""], [b"engine"], [b"nobody", b"<IDS|MSG>"]):
        parts.client.send_multipart(wrong)
    parts.client.send_multipart([b"engine", b"right"])
    seen = [parts.engine.recv_multipart()]
    while seen[-1] != [b"client", b"right"]:
        seen.append(parts.engine.recv_multipart())
    assert seen in ([[b"client", b"right"]], [[b"client"], [b"client", b"right"]])


class Buffer(bytearray):
    """What can be seen to go."""


def test_nothing_is_kept_of_a_message_that_was_passed_on(parts: Parts) -> None:
    buffer = Buffer(10**6)  # so large that it is not copied
    gone = threading.Event()
    weakref.finalize(buffer, gone.set)
    parts.client.send_multipart([b"engine", *MESSAGE, buffer], copy=False)
    del buffer
    assert len(parts.engine.recv_multipart()[-1]) == 10**6
    assert gone.wait(60)


@pytest.mark.parametrize(
    ("options", "queue"),
    [
        (["--nodb"], "parallelflow.cluster.relay.ProcessRelay"),
        (["--IPController.db_class=NoDB"], "parallelflow.cluster.relay.ProcessRelay"),
        (["--dictdb"], "zmq.devices.ProcessMonitoredQueue"),
        (["--nodb", "--usethreads"], "zmq.devices.ThreadMonitoredQueue"),
    ],
)
def test_a_controller_that_keeps_records_or_uses_threads_has_ipyparallels_queue(
    options: list[str], queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.IPController, "init_schedulers", lambda self: None)
    controller = ipyparallel_controller.IPController()
    controller.parse_command_line(options)
    controller.init_schedulers()
    assert controller.mq_class == queue


def test_options_and_configuration_mean_what_they_do_to_ipyparallels_controller() -> None:
    # Old names count for less than new ones; which those are, ipyparallel takes from the class's name.
    old_and_new = Config({"HubFactory": {"ip": "*"}, "IPController": {"ip": "127.0.0.1"}})
    for kind in (app.IPController, ipyparallel_controller.IPController):
        controller = kind(config=old_and_new)
        controller.init_deprecated_config()
        assert controller.ip == "127.0.0.1"
        given = kind()
        given.parse_command_line(["--ip=1.2.3.4"])
        assert given.config.IPController.ip == "1.2.3.4"


def test_what_is_sent_takes_no_memory_in_the_hub(profile: Path, make_session: Make) -> None:
    session = make_session(profile="test", engines=1)
    client = session.client()
    view = client[:]
    assert view.apply_sync(len, bytes(10)) == [10]
    controller = session.state().controller
    assert controller is not None
    hub = psutil.Process(controller.pid)
    assert "parallelflow.cluster.ipyparallel_controller" in hub.cmdline()
    before = _most(hub)
    assert view.apply_sync(len, bytes(MEGABYTES * 10**6)) == [MEGABYTES * 10**6]
    assert view.apply_sync(bytes, MEGABYTES * 10**6)[0] == bytes(MEGABYTES * 10**6)
    until(lambda: client.queue_status()[client.ids[0]]["completed"] == 3)  # the hub has dealt with all of it
    assert _most(hub) - before < MEGABYTES * 10**6 / 2


def _most(process: psutil.Process) -> int:
    """The most memory that a process has had at any time, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
