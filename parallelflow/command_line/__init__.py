"""The command line, ``python -m parallelflow``: for terminals, servers and clusters, where there is no window.

- `arguments` is what may be typed, `output` how it is answered.
- `clusters` looks at, starts and stops clusters; `doctor` finds out what is wrong; `enable` switches the package on.
- `user` reads what a user's VisTrails has been told.

This room imports `parallelflow.cluster` and the standard library; VisTrails only where it is what is looked at, never Qt.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from parallelflow.cluster.errors import ClusterError
from parallelflow.command_line import clusters, doctor, enable
from parallelflow.command_line.arguments import Arguments, parse
from parallelflow.command_line.output import FAILED, INTERRUPTED, Output

_COMMANDS: dict[str, Callable[[Arguments, Output], int]] = {
    "status": clusters.status,
    "start": clusters.start,
    "stop": clusters.stop,
    "profiles": clusters.profiles,
    "doctor": doctor.doctor,
    "enable": enable.enable,
}


def main(words: Sequence[str]) -> int:
    """Do what was typed.

    :param words: what follows ``python -m parallelflow``
    :returns: the exit code: 0 if all is well, 1 if something is wrong or failed, 2 if it cannot be understood (by argparse, as
        :class:`SystemExit`), 130 if it was interrupted
    """
    arguments = parse(words)
    output = Output(arguments.json)
    try:
        return _COMMANDS[arguments.command](arguments, output)
    except ClusterError as error:
        output.fail(str(error))
        return FAILED
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever was reading has read enough
        sys.stderr.close()
        return FAILED
