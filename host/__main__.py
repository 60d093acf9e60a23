"""``python -m host [directory]``: builds the virtual environment, by default in ``.venv``.

This file must stay readable to old versions of Python, so that they get a sentence instead of a SyntaxError.
"""

import sys

if sys.version_info < (3, 10):
    sys.exit(
        "make setup: %s is Python %d.%d; this project needs Python 3.10 or later."
        " Name another one, as in: make setup PYTHON=python3.11"
        % (sys.executable, sys.version_info[0], sys.version_info[1])
    )

from host.environment import main

sys.exit(main(sys.argv[1:]))
