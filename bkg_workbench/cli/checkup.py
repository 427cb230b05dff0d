"""The doctor's checks of a workspace; they change nothing in it."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from bkg_workbench.cli.findings import Check, Finding
from bkg_workbench.cli.words import count
from bkg_workbench.client.attach import CONNECTION_FILE, MARK, attach
from bkg_workbench.errors import StartFailed, WorkspaceError
from bkg_workbench.host import launch, ports
from bkg_workbench.protocol.definition import Definition
from bkg_workbench.store import mirror
from bkg_workbench.supervisor.entrypoint import check_entrypoint

PRIVATE = ("host.json", "bkg.db", "bkg.db-wal", "samples.db", "instances.json")
"""Files of `.bkg` that nobody else may read."""
PORT_NAMES = {
    "BKG_PLUGIN_BUS_PORT": "bus",
    "BKG_API_PORT": "gateway",
    "BKG_WEB_PORT": "web",
}
"""The variable of a port, and its name in the port table."""
SHELLS = ("sh", "bash", "dash", "zsh", "ksh")
CLOSERS = ("fi", "esac", "done", "}", ";;")
"""Last words of a script whose `exec` stands further up, in a branch."""


def hidden(root: Path | None) -> Iterator[Finding]:
    """`.bkg` and its modes: tokens and secrets lie in it."""
    assert root is not None
    folder = root / ".bkg"
    if not folder.exists():
        yield Finding("ok", ".bkg", "not there yet; the first start makes it")
        return
    wrong = False
    if folder.stat().st_uid != os.geteuid():
        wrong = True
        text = "belongs to another user, who alone can run this workspace's Host"
        yield Finding("FAIL", ".bkg", text, f"chown -R $USER {folder}")
    if folder.stat().st_mode & 0o077:
        wrong = True
        mend = f"chmod 700 {folder}"
        yield Finding("FAIL", ".bkg", f"{_mode(folder)}: others can get in", mend)
    runtime = [p for p in folder.glob("plugins/*/config.runtime.json") if p.is_file()]
    for file in [*(folder / name for name in PRIVATE), *runtime]:
        # The database's own files take the umask; the folder's 0700 keeps them.
        if file.exists() and file.stat().st_mode & 0o022:
            wrong = True
            name = str(file.relative_to(root))
            text = f"{name} is {_mode(file)}: others could write it"
            yield Finding("FAIL", ".bkg", text, f"chmod 600 {file}")
    connection = root / CONNECTION_FILE
    if connection.exists() and connection.stat().st_mode & 0o077:
        wrong = True
        text = f"{CONNECTION_FILE} is {_mode(connection)}: others could read its token"
        mend = f"chmod 600 {connection}, and start the Host again for a new token"
        yield Finding("FAIL", ".bkg", text, mend)
    if not wrong:
        yield Finding("ok", ".bkg", f"{_mode(folder)}, yours alone")


def _mode(path: Path) -> str:
    return f"{stat.S_IMODE(path.stat().st_mode):04o}"


def host(root: Path | None) -> Iterator[Finding]:
    """Whether a Host runs, and whether what says so is true."""
    assert root is not None
    try:
        with attach(root) as bench:
            info = bench.info()
        yield Finding("ok", "Host", f"running, process {info['pid']}")
        return
    except WorkspaceError:
        pass
    held = _is_locked(root / ".bkg" / "host.lock")
    if held:
        text = "one holds the workspace but does not answer; it may be just starting"
        yield Finding("FAIL", "Host", text, f"look again; then end it: fuser {root}/.bkg/host.lock")
    elif (root / CONNECTION_FILE).exists():
        text = f"none runs; {CONNECTION_FILE} is left from one that was killed"
        yield Finding("warn", "Host", text, "bkg host (it replaces the file)")
    else:
        yield Finding("info", "Host", "none runs; `bkg host` starts one")


def _is_locked(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def listening(root: Path | None) -> Iterator[Finding]:
    """The ports: the live Host's own, else whether they could be taken."""
    assert root is not None
    own = _own_ports(root)
    for variable, name in PORT_NAMES.items():
        if name in own:
            yield Finding("ok", "ports", f"{own[name]} ({variable}): this workspace's Host")
        else:
            yield _port(variable)


def _port(variable: str) -> Finding:
    try:
        port, is_fixed = ports.wanted(variable)
    except WorkspaceError as error:
        return Finding("FAIL", "ports", str(error), f"unset {variable}, or set it to a port")
    if port == 0 or ports.is_free(port):
        return Finding("ok", "ports", f"{port or 'any'} ({variable}): free")
    text = f"{port} ({variable}) is held by {ports.owner_of(port)}"
    if is_fixed:
        return Finding("FAIL", "ports", text, f"free it, or unset {variable}")
    return Finding("info", "ports", f"{text}; another will be taken")


def _own_ports(root: Path) -> dict[str, int]:
    try:
        with attach(root) as bench:
            return {row["name"]: row["port"] for row in bench.ports()}
    except WorkspaceError:
        return {}


def plugins(root: Path | None) -> Iterator[Finding]:
    """Definitions, start scripts, defaults and environments of the plug-ins."""
    assert root is not None
    try:
        content = (root / MARK).read_bytes()
        entries = mirror.parse(content)
    except FileNotFoundError:
        yield Finding("info", "plug-ins", f"{MARK} is not there yet; the first start writes it")
        return
    except OSError as error:
        yield Finding("FAIL", "plug-ins", f"{MARK} cannot be read ({error.strerror})", "chmod it")
        return
    except mirror.MirrorInvalid as error:
        mend = "correct it; until then the Host uses the definitions that it knows"
        yield Finding("FAIL", "plug-ins", f"{MARK}: {error}", mend)
        return
    yield Finding("ok", "plug-ins", f"{count(len(entries), 'definition')} in {MARK}")
    for entry in entries:
        yield from _plugin(root, entry.definition)


def _plugin(root: Path, definition: Definition) -> Iterator[Finding]:
    name, folder = definition.name, root / "plugins"
    try:
        script = launch.entrypoint(definition, folder)
    except StartFailed as error:
        yield Finding("FAIL", name, str(error.facts["reason"]), "put it back, or correct it")
        return
    problem = check_entrypoint(script, script.parent, folder)
    if problem is not None:
        what, _, mend = problem.partition("; ")
        yield Finding("FAIL", name, what, mend or None)
        return
    findings = [*_hands_over(name, script), *_defaults(name, script.parent)]
    findings += _environment(root, name, script.parent)
    yield from findings or [Finding("ok", name, f"{script.relative_to(root)} can run")]


def _hands_over(name: str, script: Path) -> Iterator[Finding]:
    """A script that stays around its program eats signals and hides the exit code."""
    lines = script.read_bytes()[:65536].decode(errors="replace").replace("\\\n", " ").splitlines()
    first = lines[0].split() if lines else []
    shell = os.path.basename(first[-1]) if first else ""
    if shell not in SHELLS:
        return
    commands = [line.strip() for line in lines if line.strip() and line.strip()[0] != "#"]
    last = commands[-1] if commands else ""
    branches = last in CLOSERS and any("exec " in line for line in commands)
    if not (last.startswith("exec ") or branches):
        text = f"the last command of {script.name} is not `exec`: {last[:60] or 'there is none'}"
        mend = f"write: exec {last}" if last else 'write: exec "$BKG_PYTHON" plugin.py'
        yield Finding("warn", name, text, mend)


def _defaults(name: str, folder: Path) -> Iterator[Finding]:
    file = folder / "config.json"
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        yield Finding("FAIL", name, f"config.json cannot be used ({error})", f"correct {file}")
        return
    if not isinstance(content, dict):
        yield Finding("FAIL", name, "config.json is no JSON object", f"correct {file}")


def _environment(root: Path, name: str, folder: Path) -> Iterator[Finding]:
    """Of a plug-in with requirements of its own: built already?"""
    if not (folder / "pyproject.toml").is_file():
        return
    link = root / ".bkg" / "plugins" / name / "venv"
    if (link / "bin" / "python").exists():
        yield Finding("ok", name, f"can run; its environment is {os.path.realpath(link)}")
    elif link.is_symlink():
        text = "its environment has gone; the next start builds it again"
        yield Finding("info", name, text)
    else:
        yield Finding("info", name, "can run; the first start builds its environment")


CHECKS = (
    Check(".bkg", hidden),
    Check("the Host", host),
    Check("ports", listening),
    Check("plug-ins", plugins),
)
