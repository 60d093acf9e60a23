"""A package of the user's own whose modules need a window, or might."""

identifier = "org.vistrails.parallelflow.parity_window"
name = "Parity window"
version = "0.1"
