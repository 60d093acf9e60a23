"""Confidence intervals by the bootstrap, computed by all engines of the cluster."""

identifier = "org.example.bootstrap"
name = "Bootstrap example"
version = "1.0"


def package_dependencies() -> list[str]:
    """Return the packages that VisTrails must enable first: the cluster's preferences and menu come with Parallel Flow."""
    return ["org.vistrails.parallelflow"]
