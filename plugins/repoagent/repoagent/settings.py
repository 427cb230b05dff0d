"""The settings of repoagent; their schema is the `configSchema` that the form is made from.

Owns names, bounds, defaults and descriptions. What they mean is carried out elsewhere.
"""

from __future__ import annotations

from typing import Annotated

from bkg_workbench.sdk import Meta, Settings

NonEmpty = Annotated[str, Meta(min_length=1, max_length=4096)]
Glob = Annotated[str, Meta(min_length=1, max_length=256)]


class AllowedCommand(Settings):
    """A command that `repo.command` may run."""

    name: Annotated[
        str,
        Meta(
            title="Name",
            description="What a request calls the command.",
            pattern="^[a-z][a-z0-9_-]{0,31}$",
        ),
    ]
    executable: Annotated[
        list[NonEmpty],
        Meta(
            title="Program and fixed arguments",
            description="The program's absolute path, then the arguments that always go first.",
            min_length=1,
            max_length=64,
        ),
    ]
    timeout_seconds: Annotated[
        int,
        Meta(
            title="Timeout",
            description="Seconds after which the command and all that it started are ended.",
            ge=1,
            le=600,
        ),
    ] = 30
    allow_args: Annotated[
        bool,
        Meta(
            title="Allow arguments",
            description="Whether a request may add arguments of its own.",
        ),
    ] = False


class TelemetrySettings(Settings):
    """How often repoagent reports on itself."""

    sample_interval_seconds: Annotated[
        int,
        Meta(
            title="Sample interval",
            description="Seconds between two samples of processor time and memory.",
            ge=1,
            le=3600,
        ),
    ] = 5


class RepoagentSettings(Settings):
    """What repoagent may open, and how it reports."""

    default_root: Annotated[
        str,
        Meta(
            title="Default root",
            description=(
                "The root that is meant when a request names none; one of the workspace roots. "
                "Empty: the first of them."
            ),
            max_length=4096,
        ),
    ] = ""
    workspace_roots: Annotated[
        list[NonEmpty],
        Meta(
            title="Workspace roots",
            description=(
                "The directories that may be opened, with all that lies beneath them. Relative "
                "ones count from the workspace. Without any, every request is refused."
            ),
            max_length=64,
        ),
    ] = []  # noqa: RUF012 - msgspec copies it
    max_files: Annotated[
        int,
        Meta(
            title="Files at a time",
            description=(
                "How many entries repo.tree lists, and how many files repo.analyze looks at, "
                "where a request does not say."
            ),
            ge=1,
            le=10_000,
        ),
    ] = 500
    ignore_globs: Annotated[
        list[Glob],
        Meta(
            title="Ignore globs",
            description=(
                "Paths that no request may see, in the form of a .gitignore and beside those that "
                ".gitignore files name. `!` shows what is hidden as a secret: `!id_helpers.py`."
            ),
            max_length=1000,
        ),
    ] = []  # noqa: RUF012 - msgspec copies it
    command_allowlist: Annotated[
        list[AllowedCommand],
        Meta(
            title="Allowed commands",
            description="The commands that repo.command may run. Nothing else ever runs.",
            max_length=100,
        ),
    ] = []  # noqa: RUF012 - msgspec copies it
    environment: Annotated[
        dict[
            Annotated[str, Meta(pattern="^[A-Za-z_][A-Za-z0-9_]*$")],
            Annotated[str, Meta(max_length=32_768)],
        ],
        Meta(
            title="Environment",
            description="Environment variables of the commands; they inherit no others.",
            max_length=100,
        ),
    ] = {}  # noqa: RUF012 - msgspec copies it
    enable_git: Annotated[
        bool,
        Meta(
            title="Use git",
            description="Whether the verbs that call git (status, diff, log, commit) are served.",
        ),
    ] = True
    telemetry: Annotated[
        TelemetrySettings,
        Meta(title="Telemetry", description="How often repoagent reports on itself."),
    ] = TelemetrySettings()
