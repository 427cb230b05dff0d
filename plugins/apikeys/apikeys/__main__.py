"""`python -m apikeys`: be the plug-in."""

from apikeys.plugin import plugin

if __name__ == "__main__":
    plugin.run()
