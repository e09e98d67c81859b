"""YAML option groups of the commands; a package so that an installed toolkit finds them as ``pkg://conf``."""
