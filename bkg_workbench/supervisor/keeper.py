"""The process between the Host and one plug-in's `start.sh`: it ends the whole tree, always.

Owns one process tree: it starts the command in a session of its own, adopts whatever the command
leaves behind, and ends all of it (TERM, grace, KILL) when the Host closes the lifeline or goes
away in any manner, when it gets TERM, or when the command itself ends. Does not own restarts,
output or anything of the workbench: it is one file, needs only the standard library, and runs as

    python -I -S keeper.py --grace 5 --status 3 -- ./start.sh ...

stdin is the lifeline (its end of file means: stop); stdout and stderr pass through. The descriptor
given by `--status` gets JSON lines: {"spawned": pid}, at the end {"exited": code or null, "signal":
number or null, "escalated": whether KILL was needed}. `--limit NAME=N` sets the resource limits
NOFILE, NPROC or AS (bytes), `--nice N` the priority. With `--detach` it starts the command as
nobody's child, reports its pid and leaves.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn
else:
    # `signal` imports enum, a third of this program's start time; this is the C module below it.
    import _signal as signal

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_SECONDS = 1.0
SIGNALS = [getattr(signal, "SIG" + n) for n in ("INT", "HUP", "TERM", "CHLD", "PIPE", "XFSZ")]


def prctl(option: int, value: int) -> bool:
    """One prctl call; False where the platform has none."""
    try:
        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    except AttributeError:
        return False


def children_of(pid: int) -> list[int] | None:
    """Direct children of every thread of `pid`; None where the kernel does not list them."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found.extend(map(int, file.read().split()))
        except FileNotFoundError:
            if os.path.exists(f"/proc/{pid}/task/{thread}"):
                return None
        except OSError:
            continue
    return found


def parents() -> dict[int, int]:
    """{pid: parent} of the whole machine, for kernels without children lists."""
    table = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    table[int(entry)] = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue
    return table


def descendants(root: int) -> list[int]:
    """Pids below `root`, parents before children."""
    found: list[int] = []
    level = [root]
    while level:
        below: list[int] = []
        for pid in level:
            children = children_of(pid)
            if children is None:
                return descendants_by_parent(root)
            below.extend(children)
        found.extend(below)
        level = below
    return found


def descendants_by_parent(root: int) -> list[int]:
    """The same, from the parent of every process of the machine."""
    table = parents()
    found = [root]
    for pid in found:
        found.extend(child for child, parent in table.items() if parent == pid)
    return found[1:]


class Tree:
    """The command and everything below it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None
        self.linux = os.path.exists("/proc/self/stat")
        self.told: set[int] = set()

    def reap(self) -> bool:
        """Collect ended children, ours and adopted. True while any is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            # The number may be given to a new process, which then has to be told too.
            self.told.discard(pid)
            if pid == self.pid:
                self.status = status

    def members(self) -> list[int]:
        """The pids to signal; where there is no /proc, that of the command's process group."""
        if self.linux:
            return descendants(os.getpid())
        return [] if self.status is not None else [self.pid]

    def signal(self, number: int) -> None:
        """Send to every member; TERM only once each, since many take a second one as 'at once'."""
        for pid in self.members():
            if number == signal.SIGTERM:
                if pid in self.told:
                    continue
                self.told.add(pid)
            try:
                send = os.kill if self.linux else os.killpg
                send(pid, number)
                if number == signal.SIGTERM:
                    # A stopped process acts on TERM only once it continues.
                    send(pid, signal.SIGCONT)
            except OSError:
                continue


def spawn(argv: list[str], limits: dict[str, int], nice: int) -> int:
    """Fork and exec the command; its pid. Exit codes of a failed exec are those of a shell."""
    keeper = os.getpid()
    # Until the child has default handlers again a TERM must wait, or it would be swallowed.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return pid
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(1)
        apply_limits(limits, nice)
    finally:
        run(argv)


def run(argv: list[str]) -> NoReturn:
    """Become the command, with default signals and no stdin; exit codes as a shell gives them."""
    code = 126
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execvp(argv[0], argv)
    except OSError as error:
        code = 127 if error.errno in (errno.ENOENT, errno.ENOTDIR) else 126
        say(f"{argv[0]} cannot be run: {error.strerror}")
    finally:
        os._exit(code)


def say(text: str) -> None:
    """A line on stderr, which is the plug-in's log."""
    try:
        os.write(2, (text + "\n").encode("utf-8", "replace"))
    except OSError:
        pass


def apply_limits(limits: dict[str, int], nice: int) -> None:
    """Set soft and hard limits alike: no core dumps, and all the files that there may be."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for name, value in {"NOFILE": hard, **limits}.items():
        which = getattr(resource, "RLIMIT_" + name)
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard) if value != resource.RLIM_INFINITY else hard
        try:
            resource.setrlimit(which, (value, value))
        except (OSError, ValueError) as error:
            say(f"the limit {name}={value} could not be set: {error}")
    if nice:
        os.nice(nice)


class Options:
    """The command line."""

    def __init__(self) -> None:
        self.argv: list[str] = []
        self.grace = 5.0
        self.status: int | None = None
        self.limits: dict[str, int] = {}
        self.nice = 0
        self.detach = False


class Keeper:
    """One run: wait for a reason to end, then end the tree."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.parent = os.getppid()
        self.stopping = False
        self.lifeline = select.poll()
        self.lifeline.register(0, select.POLLIN)
        self.poll = select.poll()
        self.poll.register(0, select.POLLIN)
        self.wake, writer = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(writer, False)
        self.poll.register(self.wake, select.POLLIN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self.on_term)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def on_term(self, *_: object) -> None:
        self.stopping = True

    def is_over(self) -> bool:
        """Whether the Host wants the end, or is no more."""
        if self.stopping or os.getppid() != self.parent:
            return True
        if not self.lifeline.poll(0):
            return False
        try:
            return not os.read(0, 4096)
        except OSError:
            return True

    def doze(self, seconds: float, lifeline: bool = True) -> None:
        """Sleep until a signal, the lifeline's end, or the time."""
        if not lifeline:
            # At its end the lifeline is readable for ever and would turn waiting into spinning.
            watch = select.poll()
            watch.register(self.wake, select.POLLIN)
            watch.poll(seconds * 1000)
        else:
            self.poll.poll(seconds * 1000)
        try:
            os.read(self.wake, 4096)
        except OSError:
            pass

    def report(self, text: str) -> None:
        if self.options.status is not None:
            try:
                os.write(self.options.status, f"{text}\n".encode())
            except OSError:
                pass

    def run(self) -> int:
        """The exit code: the command's, or 128 + the number of the signal that ended it."""
        if self.is_over():
            return 0
        tree = Tree(spawn(self.options.argv, self.options.limits, self.options.nice))
        self.report(f'{{"spawned": {tree.pid}}}')
        tree.reap()
        while tree.status is None and not self.is_over():
            self.doze(POLL_SECONDS)
            tree.reap()
        escalated = self.end(tree)
        status = tree.status or 0
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        code = os.WEXITSTATUS(status) if number is None else None
        said = f'"exited": {_json(code)}, "signal": {_json(number)}'
        self.report(f'{{{said}, "escalated": {"true" if escalated else "false"}}}')
        return 128 + number if number is not None else os.WEXITSTATUS(status)

    def end(self, tree: Tree) -> bool:
        """TERM, grace, KILL until nothing is left. Whether KILL was needed."""
        deadline = time.monotonic() + self.options.grace
        pause = 0.005
        while tree.reap():
            left = deadline - time.monotonic()
            if left <= 0:
                break
            tree.signal(signal.SIGTERM)
            self.doze(min(pause, left), lifeline=False)
            pause = min(pause * 2, 0.1)
        else:
            return False
        pause = 0.001
        while True:
            tree.signal(signal.SIGKILL)
            if not tree.reap():
                return True
            self.doze(pause, lifeline=False)
            pause = min(pause * 2, 0.05)


def _json(number: int | None) -> str:
    return "null" if number is None else str(number)


def read_arguments(words: list[str]) -> Options:
    """The command line. Raises ValueError and IndexError."""
    options = Options()
    while words:
        word = words.pop(0)
        if word == "--":
            break
        if word == "--detach":
            options.detach = True
        elif word == "--limit":
            name, _, value = words.pop(0).partition("=")
            if name not in ("NOFILE", "NPROC", "AS"):
                raise ValueError(f"no limit is named {name}")
            options.limits[name] = int(value)
        elif word == "--grace":
            options.grace = float(words.pop(0))
        elif word == "--status":
            options.status = int(words.pop(0))
        elif word == "--nice":
            options.nice = int(words.pop(0))
        else:
            raise ValueError(f"unknown option {word}")
    if not words:
        raise ValueError("no command after --")
    options.argv = words
    return options


def detach(options: Options) -> None:
    """Start the command in a session of its own that survives everybody."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        run(options.argv)
    if options.status is not None:
        os.write(options.status, f'{{"spawned": {pid}}}\n'.encode())


def main() -> int:
    """Run as the command line says; the exit code."""
    try:
        options = read_arguments(sys.argv[1:])
    except (ValueError, IndexError) as error:
        say(f"keeper: {error}")
        return 64
    first = 3
    if options.status is not None:
        os.set_inheritable(options.status, False)
        os.closerange(3, options.status)
        first = options.status + 1
    os.closerange(first, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    if options.detach:
        detach(options)
        return 0
    if os.getpgrp() != os.getpid():
        os.setsid()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    return Keeper(options).run()


if __name__ == "__main__":
    # No clean-up of the interpreter: nothing is held that the kernel does not free.
    os._exit(main())
