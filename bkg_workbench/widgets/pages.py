"""The dashboards' server: Voilà with this house's template, addresses and limits.

Owns addresses (`/plugins` is `plugins.ipynb`, `/` leads there), the token that opens them, the
template without a single foreign link, and the culling of kernels whose page has gone. Which
folder, port and workspace: its arguments. Run as `python -m bkg_workbench.widgets.pages`; starting
it is the Host's matter. Pages attach to the workspace in `BKG_WORKSPACE`.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

# ruff: noqa: E402
# Jupyter's event log imports jsonschema, which builds a grammar of IRIs where this package is
# there: three to six seconds of every start, for a format that no event of Jupyter's has.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web
from traitlets.config import Config
from voila.app import Voila
from voila.tornado.contentshandler import VoilaContentsHandler
from voila.tornado.handler import TornadoVoilaHandler
from voila.tornado.treehandler import TornadoVoilaTreeHandler

TOKEN_VARIABLE = "BKG_WEB_TOKEN"
"""Names the token; in the environment, because a command line can be read by every user."""
HOME = "plugins"
"""The page that `/` leads to."""
EXTENSIONS = (
    "@jupyter-widgets/jupyterlab-manager",
    "@voila-dashboards/widgets-manager8",
    "anywidget",
)
"""The JupyterLab extensions that pages load; others of the user's may not fit Voilà."""
CULL_IDLE_SECONDS = 60
CULL_INTERVAL_SECONDS = 15
PAGE_NAME = r"[a-z][a-z0-9_-]{0,63}"


class NativeKernels(KernelSpecManager):
    """Kernels of this interpreter only: a `python3` kernel of the user's lacks the workbench."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The kernel of this interpreter, whatever the notebook's metadata names."""
        from ipykernel.kernelspec import RESOURCES, get_kernel_dict

        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())


class Page(TornadoVoilaHandler):
    """A dashboard under its own name. A token in the address becomes a cookie and disappears."""

    @web.authenticated
    async def get(self, path: str | None = None) -> None:
        """Stream the page, starting a kernel for it."""
        if self.get_query_arguments("token"):
            self.redirect(_without_token(self))
            return
        notebook = f"{path}.ipynb"
        if not Path(self.settings["voila_root"], notebook).is_file():
            raise web.HTTPError(404)
        _ = self.xsrf_token  # sets the cookie that lets the closing page end its kernel
        self.notebook_path = notebook
        await super().get(None)


class Home(JupyterHandler):
    """`/`: the first page."""

    @web.authenticated
    async def get(self) -> None:
        """Go to the first page, leaving the token behind."""
        self.redirect(_without_token(self, url_path_join(self.base_url, HOME)))


class Alive(web.RequestHandler):
    """`/health`: whether the server answers; open to all."""

    def get(self) -> None:
        """Say so."""
        self.finish({"status": "up"})


class Pages(Voila):
    """Voilà, serving a folder of dashboards."""

    name = "voila"

    def initialize(self, argv: list[str] | None = None) -> None:
        """Parse `argv`; the settings below hold unless it says otherwise."""
        template_root = str(files("bkg_workbench.widgets") / "jupyter")
        paths = [template_root, *filter(None, [os.environ.get("JUPYTER_PATH")])]
        os.environ["JUPYTER_PATH"] = os.pathsep.join(paths)
        self.update_config(_defaults())
        super().initialize(argv)
        self.log.addFilter(_is_news)
        logging.getLogger("tornado.general").addFilter(_is_news)

    def init_settings(self) -> dict[str, Any]:
        """Voilà's settings, with the Host header checked against the names that are allowed."""
        settings: dict[str, Any] = super().init_settings()
        extra = [h.strip() for h in os.environ.get("BKG_ALLOWED_HOSTS", "").split(",")]
        settings["allow_remote_access"] = False
        settings["local_hostnames"] = ["localhost", *filter(None, extra)]
        settings["voila_root"] = self.root_dir
        return settings

    def init_handlers(self) -> list[Any]:
        """Voilà's routes without the file tree, and the pages' own."""
        unused = (TornadoVoilaTreeHandler, VoilaContentsHandler)
        stock = [route for route in super().init_handlers() if route[1] not in unused]
        page = {
            "template_paths": self.template_paths,
            "config": self.config,
            "voila_configuration": self.voila_configuration,
        }
        root = re.escape(self.server_url.rstrip("/"))
        return [
            (rf"{root}/?", Home),
            (rf"{root}/health", Alive),
            *stock,
            (rf"{root}/({PAGE_NAME})/?", Page, page),
        ]


def _defaults() -> Config:
    token = os.environ.pop(TOKEN_VARIABLE, None)  # the kernels of pages have no need of it
    config = Config()
    config.Voila.open_browser = False
    config.Voila.ip = "127.0.0.1"
    config.Voila.port_retries = 0
    config.Voila.log_level = logging.WARNING
    if token:
        config.Voila.token = token
    else:
        config.Voila.auto_token = True
    config.VoilaConfiguration.template = "bkg"
    config.VoilaConfiguration.show_tracebacks = False
    config.VoilaConfiguration.file_allowlist = []
    config.VoilaConfiguration.extension_allowlist = list(EXTENSIONS)
    config.VoilaConfiguration.allow_template_override = "NO"
    config.VoilaConfiguration.kernel_spec_manager_class = NativeKernels
    config.KernelManager.transport = "ipc"  # no port of a page's kernel is open to other users
    config.MappingKernelManager.cull_idle_timeout = CULL_IDLE_SECONDS
    config.MappingKernelManager.cull_interval = CULL_INTERVAL_SECONDS
    return config


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a log record says anything about the pages.

    Every dashboard is a notebook that nobody trusted, and Jupyter gives Tornado milliseconds.
    """
    text = record.getMessage()
    return "is not trusted" not in text and "websocket_ping_timeout" not in text


def _without_token(handler: JupyterHandler, path: str | None = None) -> str:
    query = [
        (key, value)
        for key in handler.request.query_arguments
        if key != "token"
        for value in handler.get_query_arguments(key)
    ]
    return (path or handler.request.path) + (f"?{urlencode(query)}" if query else "")


main = Pages.launch_instance

if __name__ == "__main__":
    main()
