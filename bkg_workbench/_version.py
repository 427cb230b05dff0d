"""The version, in one place: read by the build, by the package, and in a plug-in's SDK copy."""

__version__ = "0.1.0"
