"""Modules that do a known amount of work."""

identifier = "org.vistrails.parallelflow.bench_work"
name = "Work to be measured"
version = "1.0"
