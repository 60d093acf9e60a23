"""A VisTrails package by somebody else, which computes on our cluster through ``parallelflow.api``."""

name = "Sample"
identifier = "org.example.sample"
version = "1.0"
