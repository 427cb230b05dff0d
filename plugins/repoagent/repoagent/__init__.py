"""repoagent: look into repositories through the workbench's bus, inside fixed roots only."""
