"""What passes messages between clients and engines in a controller of ours, and shows them to the hub without what they carry.

ipyparallel's own, ZeroMQ's monitored queue, shows the hub all of each message: a third of what a controller does when elements or
results are large. The hub keeps buffers for its database of tasks, which our controllers run without.

PyZMQ only. What is taken of its devices, `_setup_sockets` and the prefixes, its own subclasses take as well.
"""

from __future__ import annotations

from typing import Any

import zmq
from zmq.devices import ProcessMonitoredQueue, monitored_queue

# Of a message of Jupyter's protocol: two names, of sender and receiver; its delimiter, its signature, header, parent's header,
# metadata and content. Buffers follow.
_WITHOUT_BUFFERS = 8


def relay(clients: Any, engines: Any, hub: Any, from_clients: bytes, from_engines: bytes) -> None:
    """Pass messages on until the sockets' context ends.

    :param clients: the ROUTER socket that clients are connected to
    :param engines: the one that engines are connected to
    :param hub: the PUB socket by which the hub is shown what passes
    :param from_clients: what begins messages for the hub that come from clients
    :param from_engines: what begins those that come from engines
    :raises zmq.ContextTerminated: when that ends
    """
    ways = {clients: (engines, from_clients), engines: (clients, from_engines)}
    poller = zmq.Poller()
    for socket in ways:
        poller.register(socket, zmq.POLLIN)
    while True:
        for socket, _ in poller.poll():
            _pass_on(socket, *ways[socket], hub)


def _pass_on(socket: Any, other: Any, prefix: bytes, hub: Any) -> None:
    """Pass a message on; nothing keeps it afterwards."""
    sender, receiver, *message = socket.recv_multipart(copy=False)
    frames = [receiver, sender, *message]
    hub.send_multipart([prefix, *frames[:_WITHOUT_BUFFERS]], copy=False)
    other.send_multipart(frames, copy=False)


class ProcessRelay(ProcessMonitoredQueue):
    """A process that passes messages on. ipyparallel looks for "Process" in the name of its class."""

    def run_device(self) -> None:
        """Set up the sockets and use them, in the process."""
        ins, outs, mons = self._setup_sockets()  # type: ignore[no-untyped-call]
        if ins.type == outs.type == zmq.ROUTER:
            relay(ins, outs, mons, self._in_prefix, self._out_prefix)
        else:  # what engines print; nobody answers
            monitored_queue(ins, outs, mons, self._in_prefix, self._out_prefix)
