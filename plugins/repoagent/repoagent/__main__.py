"""`python -m repoagent`: be the plug-in."""

from repoagent.plugin import plugin

if __name__ == "__main__":
    plugin.run()
