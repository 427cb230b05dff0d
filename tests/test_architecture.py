"""The rules of the house that a machine can check.

Who imports whom, what a light import loads, where processes are started, how long files are, and
what must not stand in the repository. Behaviour is tested elsewhere.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bkg_workbench"

NOTEBOOK_LIBRARIES = {
    "IPython", "anywidget", "ipykernel", "ipywidgets", "jupyter_client", "jupyter_core",
    "jupyter_server", "jupyterlab", "nest_asyncio", "nest_asyncio2", "numpy", "pandas", "plotly",
    "pytest", "tornado", "traitlets", "voila", "zmq",
}  # fmt: skip

SDK_LIBRARIES = {"msgspec", "psutil", "websockets"}
"""All that errors, protocol, bus and sdk may need beyond the standard library."""

MAX_LINES = 450
LONGER_FILES: dict[str, str] = {}
"""Files that may be longer than `MAX_LINES`, each with the reason why splitting is worse."""

STARTS_PROCESSES = {
    "create_subprocess_exec", "create_subprocess_shell", "fork", "forkpty", "popen", "posix_spawn",
    "posix_spawnp", "subprocess_exec", "subprocess_shell", "system",
}  # fmt: skip
"""Calls that start a process without an import that import-linter could see."""

HTTP_SERVERS = {"aiohttp", "http.server", "socketserver", "starlette", "uvicorn"}
"""tornado is not among them: Voilà is written in it, and `widgets` adds its pages there."""

SUFFIXES_OF_LOCKS = (".lock", "package-lock.json")


def run_python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )


def sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, timeout=30
    )
    if listed.returncode:
        pytest.skip("not a checkout")
    names = listed.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def imports(tree: ast.AST) -> Iterator[str]:
    """The dotted names that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def is_of(module: str, libraries: set[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in libraries)


# --- who imports whom -----------------------------------------------------------------------------


def test_the_import_contracts_are_kept() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_the_supervisor_starts_processes() -> None:
    """What import-linter cannot see: asyncio.create_subprocess_*, os.fork, os.posix_spawn, ..."""
    found = [
        f"{relative(path)}:{node.lineno}: {node.attr}"
        for path in sources(PACKAGE)
        if path.relative_to(PACKAGE).parts[0] not in ("supervisor", "plugin_env.py")
        # It runs in a plug-in's own tree, as plugin_env does (docs/decisions/0005).
        if path.relative_to(PACKAGE).as_posix() != "sdk/lines.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in STARTS_PROCESSES
        if not (isinstance(node.value, ast.Name) and node.value.id == "platform")
    ]
    assert found == []


def test_only_the_gateway_serves_http() -> None:
    found = [
        f"{relative(path)}: {module}"
        for path in sources(PACKAGE)
        if path.relative_to(PACKAGE).parts[0] != "gateway"
        for module in imports(ast.parse(path.read_text()))
        if is_of(module, HTTP_SERVERS)
    ]
    assert found == []


def test_the_keeper_needs_the_standard_library_alone() -> None:
    """It lives between the Host and start.sh, and must start at once and outlive a broken Host."""
    tree = ast.parse((PACKAGE / "supervisor" / "keeper.py").read_text())
    other = {
        name for name in imports(tree) if name.partition(".")[0] not in sys.stdlib_module_names
    }
    assert other == set()


def test_a_plugin_imports_of_the_package_only_its_sdk() -> None:
    found = [
        f"{relative(path)}: {module}"
        for project in ROOT.glob("plugins/*/pyproject.toml")
        for path in sources(project.parent)
        if "tests" not in path.relative_to(project.parent).parts
        for module in imports(ast.parse(path.read_text()))
        if is_of(module, {"bkg_workbench"}) and not is_of(module, {"bkg_workbench.sdk"})
    ]
    assert found == []


def test_a_notebook_imports_only_top_level_names() -> None:
    found = [
        f"{relative(path)}: {match.group()}"
        for folder in ("notebooks", "dashboards")
        for path in sorted(ROOT.glob(f"{folder}/**/*.ipynb"))
        if ".ipynb_checkpoints" not in path.parts
        for cell in json.loads(path.read_text())["cells"]
        if cell["cell_type"] == "code"
        for match in re.finditer(r"(?:from|import)\s+bkg_workbench\.\S+", "".join(cell["source"]))
    ]
    assert found == []


# --- what an import does --------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["bkg_workbench", "bkg_workbench.sdk"])
def test_the_import_loads_no_notebook_library(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(m.partition('.')[0] for m in sys.modules))"
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & NOTEBOOK_LIBRARIES == set()


BLOCKED = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in {SDK_LIBRARIES | {"bkg_workbench"}!r}:
            raise ModuleNotFoundError(f"blocked: {{name}}", name=name)

sys.meta_path.insert(0, Blocker())
"""


@pytest.mark.parametrize("layer", ["errors", "protocol", "bus", "sdk"])
def test_the_layers_of_the_sdk_need_three_libraries_at_most(layer: str) -> None:
    """So that a plug-in's own environment can hold a plain copy of them."""
    code = BLOCKED + (
        f"import importlib, pkgutil\n"
        f"package = importlib.import_module('bkg_workbench.{layer}')\n"
        f"for found in pkgutil.walk_packages(getattr(package, '__path__', []), "
        f"'bkg_workbench.{layer}.'):\n"
        f"    importlib.import_module(found.name)\n"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_importing_every_module_starts_nothing() -> None:
    code = """
import importlib, os, pkgutil, signal, sys, threading
# What the libraries open at import is theirs; ours comes after.
import anywidget, ipywidgets, pandas, plotly.graph_objects, websockets
before = (
    threading.enumerate(), sys.getswitchinterval(), signal.getsignal(signal.SIGINT),
    signal.getsignal(signal.SIGTERM), sorted(os.listdir("/proc/self/fd")), os.getcwd(),
    sys.excepthook, dict(os.environ),
)
import bkg_workbench
for found in pkgutil.walk_packages(bkg_workbench.__path__, "bkg_workbench."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
after = (
    threading.enumerate(), sys.getswitchinterval(), signal.getsignal(signal.SIGINT),
    signal.getsignal(signal.SIGTERM), sorted(os.listdir("/proc/self/fd")), os.getcwd(),
    sys.excepthook, dict(os.environ),
)
assert before == after, (before, after)
for path in os.listdir("/proc/self/task"):
    assert not open(f"/proc/self/task/{path}/children").read()
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


# --- what stands in the repository ----------------------------------------------------------------


def test_no_file_grows_too_long() -> None:
    folders = [PACKAGE, *(p.parent for p in ROOT.glob("plugins/*/pyproject.toml"))]
    lengths = {
        relative(path): len(path.read_text().splitlines())
        for folder in folders
        for path in sources(folder)
    }
    long = {name: n for name, n in lengths.items() if n > MAX_LINES and name not in LONGER_FILES}
    assert long == {}, "split by what each part owns, or give a reason in LONGER_FILES"
    assert [name for name in LONGER_FILES if lengths.get(name, 0) <= MAX_LINES] == []


def test_no_test_folder_is_a_package() -> None:
    """`tests` is one namespace over several folders; an `__init__.py` would hide the others."""
    found = [*ROOT.glob("tests/**/__init__.py"), *ROOT.glob("plugins/*/tests/**/__init__.py")]
    assert [relative(path) for path in found] == []


def test_every_module_says_what_it_owns() -> None:
    silent = [
        relative(path)
        for path in sources(PACKAGE)
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_no_tracked_file_names_this_machine_or_a_registry() -> None:
    registries = [".".join(words) for words in _REGISTRIES]
    places = [f"{place}/" for place in (ROOT, Path.home()) if len(place.parts) > 1]
    found = []
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" in content:
            continue
        text = content.decode(errors="replace")
        found += [f"{relative(path)}: {word}" for word in registries + places if word in text]
        if path.name.endswith(SUFFIXES_OF_LOCKS):
            found += [f"{relative(path)}: {word}" for word in ("://", "--index") if word in text]
    assert found == []


_REGISTRIES = (
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("registry", "npmjs", "org"),
    ("registry", "yarnpkg", "com"),
)


def test_the_lock_hashes_every_package_and_covers_every_dependency() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    missing = {re.split(r"[>;]", line)[0] for line in wanted} - {b.split("==")[0] for b in blocks}
    assert missing == set(), "run `make lock`"
