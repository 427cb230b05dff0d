"""The dashboards' server: Voilà with this house's template, addresses and limits.

Owns addresses (`/` leads to `/plugins`, `/plugins/<name>` is one notebook for all, `/<name>` any
other), the token that opens them, and what of Voilà is used. Which folder, port and workspace: its
arguments. Run as `python -m bkg_workbench.widgets.pages`; starting it is the Host's matter. Pages
attach to the workspace in `BKG_WORKSPACE`.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from importlib.resources import files
from typing import Any, ClassVar

# ruff: noqa: E402
# Jupyter's event log imports jsonschema, which builds a grammar of IRIs where this package is
# there: three to six seconds of every start, for a format that no event of Jupyter's has.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_server.utils import url_path_join
from tornado.ioloop import IOLoop
from traitlets.config import Config
from voila.app import Voila
from voila.tornado.contentshandler import VoilaContentsHandler
from voila.tornado.handler import TornadoVoilaHandler
from voila.tornado.treehandler import TornadoVoilaTreeHandler
from voila.utils import get_page_config

from bkg_workbench.widgets import page_handlers as handlers
from bkg_workbench.widgets.page_kernels import PageKernels

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
SCRIPTS = "all.js"
"""Voilà's scripts, joined."""
CULL_INTERVAL_SECONDS = 5
PAGE_NAME = r"[a-z][a-z0-9_-]{0,63}"
PLUGIN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"


class NativeKernels(KernelSpecManager):
    """Kernels of this interpreter only: a `python3` kernel of the user's lacks the workbench."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The kernel of this interpreter, whatever the notebook's metadata names."""
        from ipykernel.kernelspec import RESOURCES, get_kernel_dict

        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())


class Pages(Voila):
    """Voilà, serving a folder of dashboards."""

    name = "voila"
    classes: ClassVar[list[Any]] = [*Voila.classes, PageKernels]

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
        settings["headers"] = {"Content-Security-Policy": handlers.SECURITY_POLICY}
        # Pages that are no dashboards (errors, login) have this house's look too.
        settings["jinja2_env"] = settings["voila_jinja2_env"]
        settings["default_handler_class"] = handlers.NoPageHandler
        settings["default_handler_args"] = {"voila_configuration": self.voila_configuration}
        settings["bkg_app"] = self
        return settings

    def init_handlers(self) -> list[Any]:
        """Voilà's routes without the file tree, and the pages' own."""
        unused = (TornadoVoilaTreeHandler, VoilaContentsHandler, TornadoVoilaHandler)
        stock = [route for route in super().init_handlers() if route[1] not in unused]
        page = {"voila_configuration": self.voila_configuration}
        root, home = re.escape(self.server_url.rstrip("/")), {"home": HOME}
        self._scripts = f"voila/static/{handlers.mark(self.static_paths)}"
        self._extensions = f"voila/labextensions/{handlers.mark(self._extension_folders())}"
        return [
            (rf"{root}/?", handlers.HomeHandler, home),
            (rf"{root}/health", handlers.AliveHandler),
            (rf"{root}/static-bkg/plotly\.min\.js", handlers.PlotlyHandler),
            (rf"{root}/{self._scripts}/{SCRIPTS}", handlers.ScriptsHandler,
             {"paths": self.static_paths}),
            (rf"{root}/{self._scripts}/(.*)", handlers.KeptFiles, {"paths": self.static_paths}),
            (rf"{root}/{self._extensions}/(.*)", handlers.KeptFiles,
             {"paths": [p for p in self.labextensions_path if os.path.isdir(p)]}),
            *stock,
            (rf"{root}/{handlers.PLUGIN_PAGE}/?", handlers.HomeHandler, home),
            (rf"{root}/plugins/({PLUGIN_NAME})/?", handlers.PluginHandler, page),
            (rf"{root}/({PAGE_NAME})/?", handlers.PageHandler, page),
        ]  # fmt: skip

    def _extension_folders(self) -> list[str]:
        places = [(folder, name) for folder in self.labextensions_path for name in EXTENSIONS]
        return [os.path.join(folder, name) for folder, name in places]

    def page_config(self) -> dict[str, Any]:
        """What JupyterLab's part of a page is told."""
        config: dict[str, Any] = get_page_config(
            base_url=self.base_url,
            settings=self.app.settings,
            log=self.log,
            voila_configuration=self.voila_configuration,
        )
        config["bkgScripts"] = SCRIPTS
        config["fullStaticUrl"] = url_path_join(self.base_url, self._scripts)
        config["fullLabextensionsUrl"] = url_path_join(self.base_url, self._extensions)
        return config

    def listen(self) -> None:
        """Serve until asked to stop, with kernels ready ahead."""
        IOLoop.current().add_callback(self._get_ready)
        super().listen()

    async def _get_ready(self) -> None:
        home = f"{HOME}.ipynb"
        if os.path.isfile(os.path.join(self.root_dir, home)):
            await handlers.warm_up(self, home)
        self.kernel_manager.fill()


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
    config.VoilaConfiguration.allow_theme_override = "NO"  # the page chooses: see theme.js
    config.VoilaConfiguration.kernel_spec_manager_class = NativeKernels
    config.VoilaConfiguration.multi_kernel_manager_class = PageKernels
    config.KernelManager.transport = "ipc"  # no port of a page's kernel is open to other users
    config.KernelManager.autorestart = False  # a kernel that died has nothing of its page
    config.MappingKernelManager.cull_idle_timeout = 1  # on; PageKernels decides by its lease
    config.MappingKernelManager.cull_interval = CULL_INTERVAL_SECONDS
    return config


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a log record says anything about the pages.

    Every dashboard is a notebook that nobody trusted, and Jupyter gives Tornado milliseconds.
    """
    text = record.getMessage()
    return "is not trusted" not in text and "websocket_ping_timeout" not in text


main = Pages.launch_instance

if __name__ == "__main__":
    main()
