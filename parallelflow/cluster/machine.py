"""Which machine this is: for good, whatever it is called at the moment. Host names change with networks.

Standard library only.
"""

from __future__ import annotations

import functools
import os
import platform
from contextlib import suppress
from pathlib import Path

_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_BOOT = "/proc/sys/kernel/random/boot_id"
_PROCESSES = "/proc/self/ns/pid"


@functools.cache
def this_machine() -> str:
    """The machine, as it is put on record: its id, this boot of it, and whose processes can be seen.

    The last tells a container from its host, on which process ids mean others.
    """
    name = next((text for path in _IDS if (text := _read(path))), "")
    processes = ""
    with suppress(OSError):
        processes = os.readlink(_PROCESSES)
    return "/".join((name, _read(_BOOT) or platform.node(), processes))


def is_this(recorded: str) -> bool:
    """Whether something was put on record by this machine, perhaps before it was started anew.

    :param recorded: what :func:`this_machine` returned then
    """
    name, boot, processes = this_machine().split("/", 2)
    then_name, then_boot, then_processes = (*recorded.split("/", 2), "", "")[:3]
    if processes != then_processes:
        return False
    # Without an id, only this boot is known to be this machine.
    return name == then_name if name else boot == then_boot and not then_name


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
