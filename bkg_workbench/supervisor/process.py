"""One keeper and the process tree below it, seen from the Host.

Owns starting a keeper, its lifeline, its status reports, the output of the tree and the final
`Exit`; and descriptors that a forked child of the Host must not keep. Does not own when to start
or stop: that is `supervisor.Supervisor`. Works on any asyncio loop in any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bkg_workbench.protocol.definition import Limits
from bkg_workbench.supervisor import keeper, proc
from bkg_workbench.supervisor.output import Drain
from bkg_workbench.supervisor.proc import Sample, sweep

__all__ = [
    "Exit",
    "LaunchSpec",
    "Process",
    "Sample",
    "close_in_forked_children",
    "spawn_detached",
    "sweep",
]

LINGER_SECONDS = 1.0
"""How long output is awaited once the keeper has ended: only a stray holds the pipe by then."""

_KEEPER = str(Path(keeper.__file__).resolve())


@dataclass(frozen=True)
class LaunchSpec:
    """How to start a plug-in. `inside`: a directory that `argv[0]` must lie in, if given.

    `argv[0]` and `cwd` are absolute; `env` is the whole environment, with the tag BKG_INSTANCE.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: dict[str, str]
    grace_seconds: float = 5.0
    limits: Limits = field(default_factory=Limits)
    inside: Path | None = None


@dataclass(frozen=True)
class Exit:
    """How a tree ended: `code` or `signal` of the command; `escalated` when KILL was needed.

    `lost`: the keeper itself was killed, so that nothing is known of the command.
    """

    code: int | None
    signal: int | None = None
    escalated: bool = False
    lost: bool = False

    def __str__(self) -> str:
        if self.lost:
            return f"its keeper was ended by {_signal_name(self.signal)}"
        if self.signal is not None:
            return _signal_name(self.signal)
        return f"exit {self.code}"


def _signal_name(number: int | None) -> str:
    try:
        return f"signal {number} ({signal.Signals(number or 0).name.removeprefix('SIG')})"
    except ValueError:
        return f"signal {number}"


_released: list[subprocess.Popen[bytes]] = []
"""Keepers that were let go of while they ended a tree; collected at the next start."""

_kept: set[int] = set()
_hooked = False


def close_in_forked_children(fd: int) -> Callable[[], None]:
    """Close `fd` in every child that this process forks without exec (multiprocessing).

    Returns what must be called before `fd` is closed, since its number is then used anew.
    """
    global _hooked
    if not _hooked:
        _hooked = True
        os.register_at_fork(after_in_child=_close_kept)
    _kept.add(fd)
    return lambda: _kept.discard(fd)


def _close_kept() -> None:
    for fd in _kept:
        with contextlib.suppress(OSError):
            os.close(fd)
    _kept.clear()


class Process:
    """One keeper and the tree below it. Made by `spawn`; `wait` ends when all of it has gone."""

    keeper_pid: int
    pid: int | None = None
    """The command's pid, once the keeper has reported it."""

    def __init__(self, spec: LaunchSpec, on_lines: Callable[[str, list[str]], None]) -> None:
        self._spec = spec
        self._on_lines = on_lines
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[Exit] = self._loop.create_future()
        self._spawned: asyncio.Future[None] = self._loop.create_future()
        self._report: Exit | None = None
        self._ending: asyncio.Task[None] | None = None
        self._handle = -1
        self._lock = threading.Lock()
        self._cpu: dict[tuple[int, int], float] = {}
        self._sampled_at = time.monotonic()

    @classmethod
    async def spawn(cls, spec: LaunchSpec, on_lines: Callable[[str, list[str]], None]) -> Process:
        """Start `spec` below a keeper; returns once the keeper has started the command.

        `on_lines(stream, lines)` is called in the loop, `stream` being "stdout" or "stderr".
        Raises OSError when the keeper cannot be started.
        """
        process = cls(spec, on_lines)
        process._start()
        try:
            await asyncio.shield(process._spawned)
        except asyncio.CancelledError:
            # Nobody has it, but it is in order: its keeper ends it, and `_finish` collects that.
            process.terminate()
            raise
        return process

    def _start(self) -> None:
        _released[:] = [popen for popen in _released if popen.poll() is None]
        fds: list[int] = []
        try:
            for _ in range(4):
                fds.extend(os.pipe())
            lifeline, lifeline_end, out, out_end, err, err_end, status, status_end = fds
            self._popen = subprocess.Popen(
                self._command(status_end),
                cwd=self._spec.cwd,
                env=self._spec.env,
                stdin=lifeline,
                stdout=out_end,
                stderr=err_end,
                pass_fds=(status_end,),
                start_new_session=True,
            )
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        for fd in (lifeline, out_end, err_end, status_end):
            os.close(fd)
        self.keeper_pid = self._popen.pid
        self._lifeline = lifeline_end
        self._forget = close_in_forked_children(lifeline_end)
        self._drains = [
            Drain(out, lambda lines: self._on_lines("stdout", lines)),
            Drain(err, lambda lines: self._on_lines("stderr", lines)),
            Drain(status, self._on_status),
        ]
        self._watch()

    def _command(self, status: int) -> list[str]:
        spec = self._spec
        words = [sys.executable, "-I", "-S", _KEEPER, "--grace", str(spec.grace_seconds)]
        words += ["--status", str(status)]
        if spec.limits.open_files:
            words += ["--limit", f"NOFILE={spec.limits.open_files}"]
        if spec.limits.processes:
            words += ["--limit", f"NPROC={spec.limits.processes}"]
        if spec.limits.nice:
            words += ["--nice", str(spec.limits.nice)]
        return [*words, "--", *spec.argv]

    def _watch(self) -> None:
        """Learn of the keeper's end: by a pidfd, elsewhere by a thread that waits."""
        if hasattr(os, "pidfd_open"):
            self._handle = os.pidfd_open(self.keeper_pid)
            self._loop.add_reader(self._handle, self._keeper_ended)
        else:

            def wait() -> None:
                self._popen.wait()
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(self._keeper_ended)

            threading.Thread(target=wait, name="bkg-keeper-wait", daemon=True).start()

    def _on_status(self, lines: list[str]) -> None:
        for line in lines:
            said: dict[str, Any] = json.loads(line)
            if "spawned" in said:
                self.pid = said["spawned"]
                self._is_spawned()
            else:
                self._report = Exit(said["exited"], said["signal"], said["escalated"])

    def _is_spawned(self) -> None:
        if not self._spawned.done():
            self._spawned.set_result(None)

    def _stop_watching(self) -> None:
        handle, self._handle = self._handle, -1
        if handle >= 0:
            self._loop.remove_reader(handle)
            os.close(handle)

    def _keeper_ended(self) -> None:
        self._stop_watching()
        self._ending = self._loop.create_task(self._finish())

    async def _finish(self) -> None:
        code = self._popen.wait()
        self.terminate()
        await asyncio.wait([self._drains[-1].ended], timeout=LINGER_SECONDS)
        report = self._report
        if report is None:
            lost = code < 0 and self.pid is not None
            report = Exit(None, -code, lost=lost) if code < 0 else Exit(code)
            if lost:
                env = self._spec.env
                tags = env.get(proc.TAG, ""), env.get(proc.PLUGIN_TAG)
                await asyncio.to_thread(sweep, *tags)
        await asyncio.wait([drain.ended for drain in self._drains], timeout=LINGER_SECONDS)
        for drain in self._drains:
            drain.close()
        self._is_spawned()
        self._exit.set_result(report)

    async def wait(self) -> Exit:
        """How it ended, once the whole tree has gone."""
        return await asyncio.shield(self._exit)

    def terminate(self) -> None:
        """Close the lifeline: the keeper sends TERM, after the grace KILL. Returns at once.

        May be called from any thread, also after the loop has ended.
        """
        with self._lock:
            fd, self._lifeline = self._lifeline, -1
            if fd >= 0:
                self._forget()
                os.close(fd)

    def kill(self) -> None:
        """End a keeper that does not do its duty; what it leaves behind is swept by its tag."""
        self.terminate()
        if self._popen.returncode is None:
            self._popen.kill()

    def release(self) -> None:
        """Let go of it without waiting: lifeline, pipes and all else that the loop watches."""
        self.terminate()
        self._stop_watching()
        for drain in self._drains:
            drain.close()
        if self._popen.poll() is None and self._popen not in _released:
            _released.append(self._popen)

    def tree(self) -> list[int]:
        """Pids below the keeper, parents before children."""
        return proc.descendants(self.keeper_pid) if self._popen.returncode is None else []

    def holds_socket(self, socket: str) -> bool:
        """Whether a process of the tree has the socket open (a name that `proc` gives)."""
        return proc.holds(self.tree(), socket)

    def owns_connection(self, peer_port: int, host_port: int) -> bool:
        """Whether the TCP connection from `peer_port` to `host_port` is a descendant's."""
        socket = proc.socket_inode(peer_port, host_port)
        return socket is not None and self.holds_socket(socket)

    def mem_bytes(self) -> int:
        """The tree's resident memory."""
        return proc.resident_bytes(self.tree())

    def sample(self) -> Sample:
        """The tree's CPU since the last sample, its memory and number of processes."""
        pids = self.tree()
        now, used = time.monotonic(), proc.cpu_seconds(pids)
        spent = sum(seconds - self._cpu.get(key, 0.0) for key, seconds in used.items())
        passed = max(now - self._sampled_at, 1e-3)
        self._cpu, self._sampled_at = used, now
        return Sample(100.0 * max(spent, 0.0) / passed, proc.resident_bytes(pids), len(pids))


async def spawn_detached(
    argv: Sequence[str], cwd: Path, env: Mapping[str, str], log_path: Path
) -> int:
    """Start a program that survives this process: own session, nobody's child. Its pid.

    stdin is /dev/null; stdout and stderr are appended to `log_path` (0600). Raises OSError.
    """
    return await asyncio.to_thread(_spawn_detached, argv, cwd, env, log_path)


def _spawn_detached(argv: Sequence[str], cwd: Path, env: Mapping[str, str], log_path: Path) -> int:
    status, status_end = os.pipe()
    log = -1
    try:
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        words = [sys.executable, "-I", "-S", _KEEPER, "--detach", "--status", str(status_end)]
        subprocess.run(
            [*words, "--", *argv],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(status_end,),
            start_new_session=True,
            check=False,
        )
        os.close(status_end)
        status_end = -1
        said = os.read(status, 4096)
    finally:
        for fd in (status, status_end, log):
            if fd >= 0:
                os.close(fd)
    if not said:
        raise OSError(f"{argv[0]} could not be started; {log_path} says why")
    return int(json.loads(said)["spawned"])
