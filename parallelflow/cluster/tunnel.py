"""The way to a controller that can be reached by ssh only.

ipyparallel's own tunnels end when ssh goes to the background; this one lives and ends with its :class:`Tunnel`.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from typing import Any

from parallelflow.texts import tr

# Linux lets who says SO_REUSEADDR, as ssh does, listen at a port that another one says so of and does not listen at.
_RESERVES = sys.platform == "linux"


class Tunnel:
    """One ssh process by which a controller's ports can be reached on this machine.

    :param server: where ssh goes to, as host or host:port
    :param address: the controller's address as seen from there
    :param far: its ports, by the names that the connection file has for them
    """

    def __init__(self, server: str, address: str, far: dict[str, int]) -> None:
        with ExitStack() as stack:
            sockets = {name: stack.enter_context(socket.socket()) for name in far}
            for opened in sockets.values():
                if _RESERVES:
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                opened.bind(("127.0.0.1", 0))
            self._ports = {name: int(opened.getsockname()[1]) for name, opened in sockets.items()}
            # ssh listens there when it has logged in, which may take long. Nobody else is given these ports meanwhile.
            self._reserved = stack.pop_all() if _RESERVES else ExitStack()
        self._far = {name: f"{address}:{number}" for name, number in far.items()}
        self.server, _, port = server.partition(":")
        options = ["BatchMode=yes", "ExitOnForwardFailure=yes", "ServerAliveInterval=5", "ServerAliveCountMax=3"]
        command = ["ssh", *(word for option in options for word in ("-o", option)), *(("-p", port) if port else ())]
        for name in far:
            command += ["-L", f"127.0.0.1:{self._ports[name]}:{address}:{far[name]}"]
        # No pipe: what ssh has started may keep that open after its end, and whoever reads would wait for that.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed when ssh has ended
        # Over there, cat reads from this process and so ends with it, however it ends.
        try:
            self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
                [*command, self.server, "cat"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                start_new_session=True,
            )
        except OSError as error:
            self._process = None
            self._stderr.close()
            self._reserved.close()
            self._said = tr("ssh cannot be started: {reason}", reason=error.strerror or error)

    def near(self, info: dict[str, Any]) -> dict[str, Any]:
        """The connection file's content for a client that uses the tunnel.

        :param info: the connection file's content
        """
        return {**info, **self._ports, "interface": "tcp://127.0.0.1", "location": None, "ssh": ""}

    def far(self, name: str) -> str:
        """Where it ends.

        :param name: a port's name
        """
        return self._far[name]

    @property
    def ended(self) -> str:
        """What ssh said when it ended; '' while it runs."""
        if self._process is None:
            return self._said
        if self._process.poll() is None:
            return ""
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", "replace").split("\n")
        self._close_files()
        self._said = "; ".join(line.strip().rstrip(".") for line in lines if line.strip()) or tr("ssh ended")
        self._process = None
        return self._said

    def wait(self, timeout: float) -> str:
        """Wait until the ports can be reached.

        :param timeout: seconds
        :returns: '' or why they cannot
        """
        end = time.monotonic() + timeout
        address = ("127.0.0.1", self._ports["registration"])
        while not (problem := self.ended):
            with suppress(OSError), socket.create_connection(address, 1.0):
                return ""
            if time.monotonic() > end:
                return tr("there was no answer within {seconds} seconds", seconds=round(timeout))
            time.sleep(0.05)
        return problem

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._close_files()
            self._process, self._said = None, tr("it was closed")

    def _close_files(self) -> None:
        self._reserved.close()
        self._stderr.close()
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
