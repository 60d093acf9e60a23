"""A package of the user's own that asks for VisTrails' folder only when it computes."""

identifier = "org.vistrails.parallelflow.asker"
name = "Asker"
version = "1.0"
