"""Starts, watches and ends plug-ins; the only package that starts processes."""
