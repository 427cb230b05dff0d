"""The doctor's checks of this machine and this installation."""

from __future__ import annotations

import ctypes
import errno
import importlib
import importlib.metadata
import locale
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from bkg_workbench._version import __version__
from bkg_workbench.cli.findings import Check, Finding
from bkg_workbench.cli.words import size
from bkg_workbench.plugin_env import cache_folder

OLDEST_PYTHON = (3, 11)
LEAST_BYTES, FEW_BYTES = 200 * 2**20, 2 * 2**30
"""Free space below which nothing works for long, and below which environments may not fit."""

IMPORTED = (
    "msgspec", "psutil", "websockets", "bcrypt", "jsonschema_rs", "ipywidgets", "anywidget",
    "pandas", "plotly", "jupyterlab", "voila", "nbval",
)  # fmt: skip
ASSETS = {
    "labextensions/@jupyter-widgets/jupyterlab-manager/package.json": "jupyterlab_widgets",
    "labextensions/anywidget/package.json": "anywidget",
    "voila/templates/base": "voila",
    "voila/templates/lab": "voila",
    "kernels/python3/kernel.json": "ipykernel",
}
"""What the browser side needs below share/jupyter, and the package that brings it."""

OPENAT2 = 437
"""The number of the system call, the same on every Linux."""


def python(_: Path | None) -> Iterator[Finding]:
    """The interpreter and the platform."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        mend = "install Python 3.11 or newer and make the environment again"
        yield Finding("FAIL", "Python", f"{version} is too old", mend)
    else:
        yield Finding("ok", "Python", f"{version} ({sys.executable})")
    if sys.platform.startswith("linux"):
        yield Finding("ok", "platform", "Linux")
    elif sys.platform == "darwin":
        text = "macOS: a plug-in's process tree is measured and ended less thoroughly than on Linux"
        yield Finding("info", "platform", text)
    else:
        yield Finding("FAIL", "platform", f"{sys.platform} is not supported", "use Linux, or WSL")


def package(_: Path | None) -> Iterator[Finding]:
    """This package, and whether what it needs is there and new enough."""
    place = Path(__file__).resolve().parent.parent
    try:
        wanted = importlib.metadata.requires("bkg-workbench") or []
    except importlib.metadata.PackageNotFoundError:
        mend = "install it: pip install bkg-workbench (in a checkout: make setup)"
        yield Finding("warn", "bkg-workbench", f"{place} is not installed", mend)
        return
    yield Finding("ok", "bkg-workbench", f"{__version__} ({place})")
    wrong = [problem for line in wanted if "extra ==" not in line for problem in _missing(line)]
    if wrong:
        mend = "pip install --upgrade bkg-workbench (in a checkout: make setup)"
        yield Finding("FAIL", "requirements", "; ".join(wrong), mend)
    else:
        yield Finding("ok", "requirements", "all there")


def _missing(requirement: str) -> Iterator[str]:
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    if wanted.marker is not None and not wanted.marker.evaluate():
        return
    try:
        present = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        yield f"{wanted.name} is missing"
        return
    if not wanted.specifier.contains(present, prereleases=True):
        yield f"{wanted.name} is {present}, wanted is {wanted.specifier}"


def imports(_: Path | None) -> Iterator[Finding]:
    """Whether the libraries load: one that is there can be broken all the same."""
    failed = False
    for name in IMPORTED:
        try:
            importlib.import_module(name)
        except Exception as error:  # an import can fail in any way
            failed = True
            text = f"{name} does not load ({type(error).__name__}: {error})"
            mend = f"pip install --force-reinstall {name}"
            yield Finding("FAIL", "libraries", text, mend)
    if not failed:
        yield Finding("ok", "libraries", f"{len(IMPORTED)} load")


def notebook(_: Path | None) -> Iterator[Finding]:
    """What JupyterLab and Voilà send to the browser."""
    share = [Path(prefix) / "share" / "jupyter" for prefix in dict.fromkeys(_prefixes())]
    absent = {
        owner: asset
        for asset, owner in ASSETS.items()
        if not any((folder / asset).exists() for folder in share)
    }
    for owner, asset in absent.items():
        text = f"{asset} is not below {share[0]}: widgets would stay blank"
        yield Finding("FAIL", "notebook", text, f"pip install --force-reinstall {owner}")
    if not absent:
        yield Finding("ok", "notebook", f"widgets, kernel and Voilà's templates ({share[0]})")


def _prefixes() -> Iterator[str]:
    yield sys.prefix
    yield sys.base_prefix
    yield from ("/usr/local", "/usr")


def tools(_: Path | None) -> Iterator[Finding]:
    """Programs that are started."""
    for name, level, without, mend in (
        ("bash", "warn", "start scripts that ask for it will not run", "install bash"),
        ("uv", "info", "plug-ins' environments are built with pip, which is slower",
         "pip install uv"),
        ("git", "warn", "repoagent shows no history", "install git"),
        ("node", "info", "plug-ins written for Node will not run", "install Node.js"),
    ):  # fmt: skip
        place = shutil.which(name)
        if place:
            yield Finding("ok", name, place)
        elif level == "warn":
            yield Finding("warn", name, f"not on PATH: {without}", mend)
        else:
            yield Finding("info", name, f"not on PATH: {without}", mend)
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    missing = "not found; only the project's own browser tests need it"
    yield Finding("info", "chromium", browser or missing)


def kernel(_: Path | None) -> Iterator[Finding]:
    """What supervision and file access ask of the operating system."""
    if not sys.platform.startswith("linux"):
        return
    try:
        Path("/proc/self/environ").read_bytes()
        Path(f"/proc/self/task/{os.getpid()}/children").read_bytes()
        yield Finding("ok", "/proc", "readable")
    except OSError as error:
        text = f"cannot be read ({error.strerror}): a plug-in's processes cannot be found"
        yield Finding("FAIL", "/proc", text, "mount it (in a container: with its usual options)")
    refused = _openat2()
    if refused is None:
        yield Finding("ok", "openat2", "available")
    else:
        text = f"not available ({refused}): paths are walked part by part, which is slower"
        yield Finding("info", "openat2", text)
    if not hasattr(os, "pidfd_open"):
        yield Finding("warn", "pidfd", "not available: Linux 5.3 or newer is wanted", "update it")


def _openat2() -> str | None:
    """Why the system call cannot be used, None if it can."""

    class How(ctypes.Structure):
        _fields_ = (
            ("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64),
        )  # fmt: skip

    beneath = 0x08
    how = How(os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY, 0, beneath)
    libc = ctypes.CDLL(None, use_errno=True)
    found = libc.syscall(OPENAT2, -100, b".", ctypes.byref(how), ctypes.sizeof(how))
    if found >= 0:
        os.close(found)
        return None
    return errno.errorcode.get(ctypes.get_errno(), "refused")


def language(_: Path | None) -> Iterator[Finding]:
    """Whether text outside ASCII survives."""
    encoding = locale.getpreferredencoding(False)
    if re.sub("[^a-z0-9]", "", encoding.lower()) == "utf8":
        yield Finding("ok", "locale", encoding)
    else:
        text = f"{encoding}: names and log lines outside ASCII will be garbled"
        yield Finding("warn", "locale", text, "export LANG=C.UTF-8 (or PYTHONUTF8=1)")


def disk(root: Path | None) -> Iterator[Finding]:
    """Free space for the workspace, and for the environments that workspaces share."""
    for name, place in (("disk", root), ("cache", cache_folder())):
        if place is not None:
            yield _space(name, place)


def _space(name: str, place: Path) -> Finding:
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    if not os.access(there, os.W_OK):
        where = "BKG_CACHE_DIR" if name == "cache" else "--workspace"
        mend = f"chown it to yourself, or name another folder with {where}"
        return Finding("FAIL", name, f"{there} cannot be written", mend)
    free = shutil.disk_usage(there).free
    if free < LEAST_BYTES:
        return Finding("FAIL", name, f"{size(free)} free at {place}", "free some space")
    if free < FEW_BYTES:
        text = f"{size(free)} free at {place}: models and environments may not fit"
        return Finding("warn", name, text, "free some space")
    return Finding("ok", name, f"{size(free)} free at {place}")


CHECKS = (
    Check("Python", python),
    Check("the package", package),
    Check("the libraries", imports),
    Check("the notebook's files", notebook),
    Check("programs", tools),
    Check("the operating system", kernel),
    Check("the locale", language),
    Check("the disk", disk),
)
