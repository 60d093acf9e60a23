"""Gets a VisTrails that runs on today's Python, and keeps it in the project's virtual environment.

``make setup`` runs ``python -m host``. Read the modules in this order:

* `environment`: the steps of the setup, and how an interrupted one recovers;
* `debian`: Debian's VisTrails package, and what Qt needs from the system;
* `repairs`: tables of what Debian's VisTrails needs changed for today's Python, Qt and libraries, by what they are for;
* `wheel`: the repaired tree as an ordinary distribution that pip installs and uninstalls;
* `vistrails_window`: VisTrails' window with this project's package enabled (``make vistrails``).

Only the standard library: nothing is installed yet when this runs.
"""


class SetupError(Exception):
    """What stops the setup, as a sentence that says what happened and what to do."""
