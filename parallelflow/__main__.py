"""``python -m parallelflow``: see :mod:`parallelflow.command_line`."""

import sys

from parallelflow.command_line import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
