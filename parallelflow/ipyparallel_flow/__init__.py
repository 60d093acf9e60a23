"""Runs a module or a Group once per element of a list, on every core and machine of an IPython cluster.

Drag Map into a pipeline in place of Control Flow's Map. Start, watch and stop the cluster from the menu Packages >
Parallel Flow.
"""

# VisTrails imports this to list the package, so it imports nothing that can fail: one ImportError here and VisTrails
# forgets where the package lies.
from vistrails.core.configuration import ConfigurationObject

from parallelflow import IDENTIFIER, OLD_IDENTIFIERS, __version__

identifier = IDENTIFIER
name = "Parallel Flow"
version = __version__
old_identifiers = [*OLD_IDENTIFIERS]

# `parallelflow.cluster.settings` says what each means and allows; it cannot be imported here, and a test compares them.
# Times are whole numbers because the table in VisTrails' Preferences lets only digits into a number.
configuration = ConfigurationObject(
    profile="default",
    engines=0,
    threads_per_engine=0,
    if_no_engines="ask",
    start_timeout=60,
    stop_timeout=10,
    connect_timeout=10,
    ready_timeout=120,
    no_engine_timeout=10,
    keep_engines=False,
    deaths=2,
    at_exit="stop",
    after_crash="ask",
    encryption=False,
    keep_results="failed",
    results_limit=10,
)

# With an ordinary installation VisTrails' Reload re-imports only this module and `init` without it.
_force_unload_pkg_list = ["parallelflow.ipyparallel_flow"]


def package_dependencies() -> list[str]:
    """Return the packages that VisTrails must enable first: our Map is a Control Flow Map."""
    from vistrails.core.packagemanager import get_package_manager

    needed = "org.vistrails.vistrails.control_flow"
    # Where the bundled package is enabled as well, VisTrails takes its identifier, an old one of ours, for us, and
    # initializes us in its place: that, too, must not be before Control Flow, or VisTrails does not start.
    graph = get_package_manager().dependency_graph()
    for old in old_identifiers:
        if old in graph.vertices and not graph.has_edge(old, needed):
            graph.add_edge(old, needed)
    return [needed]


def package_requirements() -> None:
    """Check that what we need is installed.

    :raises MissingRequirement: names what is not.
    """
    from vistrails.core.requirements import require_python_module

    for module in ("ipyparallel", "psutil", "zmq", "cloudpickle"):
        require_python_module(module, {"pip": module if module != "zmq" else "pyzmq"})
