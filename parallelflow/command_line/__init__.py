"""The command line, ``python -m parallelflow``: for terminals, servers and clusters, where there is no window.

- `arguments` is what may be typed, `output` how it is answered.
- `clusters` looks at, starts and stops clusters; `enable` switches the package on.
- `explore` runs a parameter exploration of a vistrail.
- `doctor` finds out what is wrong; its checks are in `checks`, which need nothing but Python, `vistrails_checks`,
  `cluster_checks` and `folder_checks`, and `trial` starts engines to see what machines lack.
- `results` lists and clears what is kept of elements.
- `convert` makes the Maps of a vistrail parallel, or serial again.
- `user` reads what a user's VisTrails has been told.

This room imports `parallelflow.cluster`, `parallelflow.results` and the standard library; VisTrails only where it is what is looked
at, and never Qt; but `explore` starts VisTrails, as it is started in batch mode, and
`convert` one without packages.
The cluster room is imported late, so that ``doctor`` works, and Ctrl-C and ``--help`` as well, where it cannot be.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from parallelflow.command_line.arguments import Arguments, parse
from parallelflow.command_line.output import FAILED, INTERRUPTED, Output

# The module of each command; the function has the command's name.
_MODULES = {
    "status": "clusters",
    "start": "clusters",
    "stop": "clusters",
    "forget": "clusters",
    "profiles": "clusters",
    "doctor": "doctor",
    "results": "results",
    "enable": "enable",
    "explore": "explore",
    "convert": "convert",
}


def main(words: Sequence[str]) -> int:
    """Do what was typed.

    :param words: what follows ``python -m parallelflow``
    :returns: the exit code: 0 if all is well, 1 if something is wrong or failed, 130 if it was interrupted
    :raises SystemExit: with code 2 if it cannot be understood, 0 after ``--help`` or ``--version``
    :raises Exception: any error, in Python's development mode
    """
    output = Output(False)
    try:
        arguments = parse(words)
        output = Output(arguments.json)
        module = import_module(f"{__name__}.{_MODULES[arguments.command]}")
        command: Callable[[Arguments, Output], int] = getattr(module, arguments.command)
        code = command(arguments, output)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever was reading has read enough
        sys.stderr.close()
        return FAILED
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        output.fail(_sentence(error))
        return FAILED


def _sentence(error: Exception) -> str:
    """What a user reads about an error."""
    if isinstance(error, ImportError):
        return f"Parallel Flow cannot be loaded: {error}. To see what is missing: python -m parallelflow doctor"
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename is not None else ""
        return f"{error.strerror or error}{where}."
    from parallelflow.cluster.errors import ClusterError

    if isinstance(error, ClusterError):
        return str(error)
    return (
        f"Something unexpected happened: {type(error).__name__}: {error}."
        f" To see where, use: python -X dev -m parallelflow ..."
    )
