"""A package of the user's own that only reads what is in VisTrails' folder, and says so."""

identifier = "org.vistrails.parallelflow.reader"
name = "Reader"
version = "1.0"
shares_files = False
