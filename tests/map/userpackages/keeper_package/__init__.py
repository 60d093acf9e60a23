"""A package of the user's own that keeps files in VisTrails' folder, in every way that harms where two use them at once."""

identifier = "org.vistrails.parallelflow.keeper"
name = "Keeper"
version = "1.0"
