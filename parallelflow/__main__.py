"""``python -m parallelflow``: see :mod:`parallelflow.command_line`."""

import sys


def run() -> int:
    """Do what was typed, and return the exit code.

    :raises SystemExit: as :func:`parallelflow.command_line.main` does
    """
    # Ctrl-C may come while modules are still being loaded.
    try:
        import logging

        from parallelflow.command_line import main
        from parallelflow.command_line.output import survive_any_encoding

        survive_any_encoding()
        # What the library logs is for those who use it; here the command says what the user must know.
        logging.basicConfig(level=logging.ERROR, format="%(message)s")
        return main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return 130
    finally:
        import signal

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is said and done


if __name__ == "__main__":
    sys.exit(run())
