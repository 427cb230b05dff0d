"""Whether somebody looks at a page: a heartbeat from the browser, and a cell that hinders it.

Owns the invisible widget that beats while its page is open, and the lease that it renews. What
stops without a lease is the page's own matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
from IPython.core.getipython import get_ipython

from bkg_workbench.widgets.live import STATIC, serve_while_computing
from bkg_workbench.widgets.pulse import Lease


class Presence(anywidget.AnyWidget):
    """Beats every 10 s while it is on a page, and when a hidden page comes to the front."""

    _esm = (STATIC / "presence.js").read_text("utf-8")

    def __init__(self, wake: Callable[[], None], lease: Lease | None = None) -> None:
        super().__init__()
        self.lease = lease or Lease()
        self._wake = wake
        self.on_msg(self._on_message)
        serve_while_computing(self)
        self._shell = get_ipython()
        if self._shell is not None:
            self._shell.events.register("pre_run_cell", self._on_cell_begin)
            self._shell.events.register("post_run_cell", self._on_cell_end)

    def close(self) -> None:
        """Leave the page and the kernel's events. A second call does nothing."""
        shell, self._shell = self._shell, None
        if shell is not None:
            shell.events.unregister("pre_run_cell", self._on_cell_begin)
            shell.events.unregister("post_run_cell", self._on_cell_end)
        super().close()

    def _on_message(self, _: Any, content: Any, __: Any) -> None:
        if isinstance(content, dict) and content.get("kind") == "beat":
            self.lease.renew()
            self._wake()

    def _on_cell_begin(self, *_: Any) -> None:
        self.lease.pause()

    def _on_cell_end(self, *_: Any) -> None:
        self.lease.resume()
