"""A package of the user's own, for the parity tests."""

identifier = "org.vistrails.parallelflow.parity"
name = "Parity"
version = "1.2.3"


def package_dependencies():
    return ["org.vistrails.vistrails.control_flow"]
