"""Builds a plug-in's own environment; run by its start.sh, in the plug-in's process tree.

    python=$("$BKG_PYTHON" -m bkg_workbench.plugin_env "$here")
    exec "$python" -m the_plugin

Owns the cache of environments (`BKG_CACHE_DIR`, default ~/.cache/bkg-workbench), their keys and
their building. Imports the standard library alone, and little of it where the environment exists:
that is every start but the first.

Standard output gets one line, the path of the environment's Python. Standard error gets
`preparing: …` lines while it is built, which hold the Host's start timeout.

An environment is built in a folder beside its place and renamed when complete, so one that is
there is whole. The scripts in its `bin` name the folder before the rename: only
`bin/python -m module` is used. The SDK in it is a copy of this very package, never one from a
registry. Exit status: 0; 78 where a retry without a change would fail alike; else 1.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

SDK_PARTS = ("__init__.py", "_version.py", "errors.py", "protocol", "bus", "sdk")
"""What of this package goes into an environment: the SDK and what it imports, no more."""

EXIT_CONFIG = 78
PROGRESS_SECONDS = 5.0
LAST_LINES = 20


class BuildFailed(Exception):
    """The environment could not be built. `is_permanent`: another try would end the same way."""

    def __init__(self, message: str, *, is_permanent: bool = False) -> None:
        super().__init__(message)
        self.is_permanent = is_permanent


class Project:
    """A plug-in's folder: what its environment is made from. Raises `BuildFailed`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.name = re.sub(r"[^A-Za-z0-9_-]", "_", self.folder.resolve().name)
        self.pyproject = self._read("pyproject.toml")
        self.lock = self._read("requirements.lock")
        self.requirements = _requirements(self.lock.decode("utf-8", "replace"))
        for requirement in self.requirements:
            if "--hash=" not in requirement:
                raise BuildFailed(
                    f"{self.folder / 'requirements.lock'} has no hash for "
                    f"{requirement.split()[0]}; write it with `uv pip compile --generate-hashes`.",
                    is_permanent=True,
                )

    def key(self) -> str:
        """Changes with the lock, the project, the Python and the SDK; with nothing else."""
        digest = hashlib.sha256()
        python = (sys.version, sys.base_prefix, sys.platform, os.uname().machine)
        for part in (self.lock, self.pyproject, "\0".join(python).encode(), _sdk_digest()):
            digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()[:20]

    def _read(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise BuildFailed(
                f"{self.folder / name} cannot be read ({error.strerror}); a plug-in with an "
                "environment of its own has a pyproject.toml and a requirements.lock.",
                is_permanent=True,
            ) from None


def _requirements(lock: str) -> list[str]:
    joined = lock.replace("\\\r\n", " ").replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


def _sdk_files() -> Iterator[tuple[Path, Path]]:
    """(file, its path below the package) of each file of the SDK, in a fixed order."""
    package = Path(__file__).parent
    for part in SDK_PARTS:
        source = package / part
        if source.is_file():
            yield source, Path(part)
        for found in sorted(source.rglob("*")):
            if found.suffix in (".py", ".typed") and found.is_file():
                yield found, found.relative_to(package)


def _sdk_digest() -> bytes:
    digest = hashlib.sha256()
    for source, place in _sdk_files():
        content = source.read_bytes()
        digest.update(f"{place.as_posix()}\0{len(content)}\0".encode() + content)
    return digest.digest()


def cache_folder() -> Path:
    """Where environments are kept."""
    given = os.environ.get("BKG_CACHE_DIR")
    return Path(given) if given else Path.home() / ".cache" / "bkg-workbench"


def prepare(folder: Path) -> Path:
    """The Python of the environment of the plug-in in `folder`, built if need be.

    Raises `BuildFailed`. Of several that ask at once one builds and the others wait for it.
    """
    project = Project(folder)
    environments = cache_folder().absolute() / "envs"
    place = environments / f"{project.name}-{project.key()}"
    python = place / "bin" / "python"
    wish = _wish()
    if not python.exists() or wish is not None:
        try:
            environments.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise BuildFailed(
                f"{environments} cannot be made ({error.strerror}); set BKG_CACHE_DIR to a folder "
                "that can be written to.",
                is_permanent=True,
            ) from None
        with _locked(place.with_name(f"{place.name}.lock")):
            # Whoever takes the wish away fulfils it; if that fails, the next start has the old one.
            if _taken(wish) or not python.exists():
                _build(project, place)
    _link(place)
    return python


def _wish() -> Path | None:
    """The file by which the Host asks for a new environment (`bkg plugins rebuild`), if it does."""
    config = os.environ.get("BKG_PLUGIN_CONFIG_PATH")
    file = Path(config).parent / "rebuild" if config else None
    return file if file is not None and file.exists() else None


def _taken(wish: Path | None) -> bool:
    try:
        if wish is not None:
            wish.unlink()
        return wish is not None
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        spoken = 0.0
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() - spoken >= PROGRESS_SECONDS:
                    _say("waiting for another start, which builds the same environment")
                    spoken = time.monotonic()
                time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)


def _build(project: Project, place: Path) -> None:
    import shutil
    import venv

    begun = time.monotonic()
    _say(f"building the environment of {project.name}")
    # We hold the lock of this key, so whatever lies about was left by a builder that was killed.
    for left in place.parent.glob(f".{place.name}.*"):
        shutil.rmtree(left, ignore_errors=True)
    half = place.with_name(f".{place.name}.{os.getpid()}")
    old = place.with_name(f".{place.name}.old-{os.getpid()}")
    try:
        venv.create(half, symlinks=True)
        if project.requirements:
            _install(project, half)
        _copy_sdk(half)
        if place.is_symlink() or place.exists():
            # Its base Python has gone, or it is to be made anew. Who runs in it goes on in the new
            # one, which has the same files.
            os.rename(place, old)
        os.rename(half, place)
    finally:
        shutil.rmtree(half, ignore_errors=True)
        _remove(old)
    _say(f"environment ready after {time.monotonic() - begun:.1f} s")


def _remove(place: Path) -> None:
    import shutil

    if place.is_symlink():
        place.unlink()
    else:
        shutil.rmtree(place, ignore_errors=True)


def _install(project: Project, half: Path) -> None:
    python = str(half / "bin" / "python")
    lock = str(project.folder / "requirements.lock")
    count = len(project.requirements)
    uv = _uv()
    if uv is not None:
        _say(f"installing {count} packages with uv")
        command = [*uv, "pip", "install", "--python", python, "--require-hashes", "--no-deps"]
        _run([*command, "--compile-bytecode", "-r", lock], "installing packages")
        return
    _say("adding pip, since there is no uv")
    _run([python, "-I", "-m", "ensurepip", "--default-pip"], "adding pip (python3-venv, or uv)")
    _say(f"installing {count} packages with pip")
    command = [python, "-I", "-m", "pip", "install", "--require-hashes", "--no-deps", "--no-input"]
    _run([*command, "--disable-pip-version-check", "-r", lock], "installing packages")


def _uv() -> list[str] | None:
    """The command that runs uv: the program, else this Python's module; None without either."""
    import shutil
    import subprocess

    found = shutil.which("uv")
    for command in ([found] if found else [], [sys.executable, "-m", "uv"]):
        if not command:
            continue
        asked = subprocess.run(
            [*command, "--version"], capture_output=True, stdin=subprocess.DEVNULL, check=False
        )
        if asked.returncode == 0:
            return command
    return None


def _run(command: list[str], what: str) -> None:
    """Run a tool to its end, telling how it goes. Raises `BuildFailed` with its last lines."""
    import subprocess
    import threading
    from collections import deque

    lines: deque[str] = deque(maxlen=LAST_LINES)
    begun = time.monotonic()
    # Stopped while the tool is being started, we could not end it: the signal waits for `process`.
    early: list[int] = []
    on_stop = signal.signal(signal.SIGTERM, lambda number, _: early.append(number))
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "NO_COLOR": "1"},
        )
    except OSError:
        signal.signal(signal.SIGTERM, on_stop)
        raise
    assert process.stdout is not None
    output = process.stdout

    def read() -> None:
        for line in output:
            if line.strip():
                lines.append(line.strip())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        signal.signal(signal.SIGTERM, on_stop)
        if early:
            signal.raise_signal(early[0])
        while True:
            try:
                process.wait(PROGRESS_SECONDS)
                break
            except subprocess.TimeoutExpired:
                last = f": {lines[-1]}" if lines else ""
                _say(f"{what}, {time.monotonic() - begun:.0f} s so far{last}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        reader.join(2.0)
        if not reader.is_alive():  # else something that outlives the tool holds the pipe
            output.close()
    if process.returncode:
        said = "\n  ".join(lines) or "it said nothing"
        raise BuildFailed(
            f"{what} failed ({Path(command[0]).name} ended with {process.returncode}):\n  {said}"
        )


def _copy_sdk(half: Path) -> None:
    import compileall

    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    target = half / "lib" / version / "site-packages" / "bkg_workbench"
    for source, place in _sdk_files():
        copy = target / place
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    compileall.compile_dir(target, quiet=2)


def _link(place: Path) -> None:
    """Let `venv` in the plug-in's data folder lead to its environment, for people to find it."""
    config = os.environ.get("BKG_PLUGIN_CONFIG_PATH")
    if not config:
        return
    link = Path(config).parent / "venv"
    try:
        if link.is_symlink() and os.readlink(link) == str(place):
            return
        fresh = link.with_name(f".venv.{os.getpid()}")
        fresh.symlink_to(place)
        os.replace(fresh, link)
    except OSError as error:
        print(f"plugin_env: no link at {link} ({error.strerror})", file=sys.stderr, flush=True)


def _say(text: str) -> None:
    print(f"preparing: {text}", file=sys.stderr, flush=True)


def _stopped(number: int, frame: object) -> NoReturn:
    # As an exception, so that the half-built folder and the tool at work are cleared away.
    raise SystemExit(128 + number)


def main(arguments: list[str] | None = None) -> int:
    """`python -m bkg_workbench.plugin_env DIR`; prints the environment's Python."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1 or given[0].startswith("-"):
        print("usage: python -m bkg_workbench.plugin_env PLUGIN_DIR", file=sys.stderr)
        return EXIT_CONFIG
    signal.signal(signal.SIGTERM, _stopped)
    try:
        print(prepare(Path(given[0])), flush=True)
    except BuildFailed as error:
        print(f"plugin_env: {error}", file=sys.stderr, flush=True)
        return EXIT_CONFIG if error.is_permanent else 1
    except OSError as error:
        print(f"plugin_env: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
