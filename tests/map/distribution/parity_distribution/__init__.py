"""A distribution with a VisTrails package, found by entry point."""
