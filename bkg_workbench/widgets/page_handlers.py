"""What the dashboards' server answers: pages, packaged scripts, and sentences where there are none.

Owns the handlers: a page is streamed while its kernel gets ready, scripts come in folders named by
their content so that browsers keep them, every answer says what its page may load. Which address
leads here is decided in `widgets.pages`; kernels come from `widgets.page_kernels`.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.escape import json_encode
from tornado.iostream import StreamClosedError
from voila.execute import VoilaExecutor
from voila.exporter import VoilaExporter
from voila.handler import BaseVoilaHandler
from voila.notebook_renderer import NotebookRenderer

from bkg_workbench.widgets.page_kernels import KernelFailed, PageKernels, Ready

PLUGIN_PAGE = "plugin"
"""The notebook of every `/plugins/<name>`."""
SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        # Outputs hold inline scripts, panels are modules from blobs, and JupyterLab compiles its
        # settings' schemas.
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' blob: data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
"""What a page may load: nothing from any other server, so that it is whole without a network."""
YEAR_SECONDS = 365 * 24 * 3600


class Renderer(NotebookRenderer):
    """Voilà's renderer, whose head goes out while the kernel gets ready.

    It keeps the exporter: making one compiles all templates, 0.3 s of processor time a page.
    """

    _exporters: ClassVar[dict[str, Any]] = {}

    async def prepare(self, base_url: str) -> None:
        """What `initialize` does, with one template and theme for all."""
        name = self.notebook_path.removesuffix(".ipynb")
        self.notebook = await self.load_notebook(self.notebook_path)
        self.cwd = ""
        self.template_name, self.theme = self.voila_configuration.template, "light"
        self.resources = {
            "base_url": base_url,
            "theme": self.theme,
            "template": self.template_name,
            "metadata": {"name": name},
            "page_config": self.page_config,
        }
        if base_url not in self._exporters:
            self._exporters[base_url] = self._exporter(base_url)
        self.exporter = self._exporters[base_url]

    def _exporter(self, base_url: str) -> VoilaExporter:
        exporter = VoilaExporter(
            template_paths=self.template_paths,
            template_name=self.template_name,
            config=self.traitlet_config,
            contents_manager=self.contents_manager,
            theme=self.theme,
            base_url=base_url,
            show_margins=False,
            mathjax_url="",
        )
        exporter.exclude_input = True
        exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
        return exporter

    async def _jinja_kernel_start(self, nb: Any, kernel_id: Any, kernel_future: Any) -> str:
        if self.request_handler is not None:
            await self.request_handler.flush()
        ready: Ready = await kernel_future
        self.executor = VoilaExecutor(
            nb, km=ready.manager, config=self.traitlet_config,
            show_tracebacks=self.voila_configuration.show_tracebacks,
        )  # fmt: skip
        self.executor.kc = ready.client
        self.kernel_started = True
        return ready.id


class PageHandler(BaseVoilaHandler):
    """A dashboard under its own name. A token in the address becomes a cookie and disappears."""

    kernel_manager: PageKernels

    @web.authenticated
    async def get(self, name: str) -> None:
        """Stream the page, with a kernel of its own."""
        await self.show(name, dict(pairs(self)))

    async def show(self, dashboard: str, query: dict[str, str], title: str = "") -> None:
        """Stream a dashboard; its kernel gets `query` as the address' query.

        `title` stands before the notebook's own in the browser's tab.
        """
        if self.get_query_arguments("token"):
            self.redirect(without_token(self))
            return
        notebook = f"{dashboard}.ipynb"
        if not Path(self.settings["voila_root"], notebook).is_file():
            raise web.HTTPError(404)
        _ = self.xsrf_token  # sets the cookie that lets the closing page end its kernel
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        kernel = asyncio.ensure_future(self.kernel_manager.page_kernel(self._environment(query)))
        try:
            renderer = make_renderer(self.settings["bkg_app"], notebook, self)
            await renderer.prepare(self.base_url)
            if title:
                own = renderer.notebook.metadata.get("title", dashboard)
                renderer.notebook.metadata["title"] = f"{title} · {own}"
            async for part, _ in renderer.generate_content_generator(None, kernel):
                self.write(part)
            await self.finish()
        except KernelFailed as error:
            self.log.warning("A page has no kernel: %s", error)
            await self.finish(f"<script>bkgFailed({json_encode(str(error))})</script>")
        except StreamClosedError:
            await self._forget(kernel)  # nobody will come for it
        except BaseException:
            await self._forget(kernel)
            raise

    async def _forget(self, kernel: asyncio.Future[Ready]) -> None:
        try:
            ready = await kernel
        except KernelFailed:
            return
        ready.close()
        await self.kernel_manager.discard(ready.id)

    def _environment(self, query: dict[str, str]) -> dict[str, str]:
        """What CGI and Voilà tell a page about its address."""
        host, _, port = self.request.host.partition(":")
        return {
            "PATH_INFO": "",
            "QUERY_STRING": urlencode(query),
            "SCRIPT_NAME": self.request.path,
            "SERVER_NAME": host,
            "SERVER_PORT": port,
            "SERVER_PROTOCOL": str(self.request.version),
            "VOILA_BASE_URL": self.base_url,
            "VOILA_REQUEST_URL": self.request.full_url(),
        }


class PluginHandler(PageHandler):
    """`/plugins/<name>`: one notebook for all, which is told the name."""

    @web.authenticated
    async def get(self, name: str) -> None:
        """Stream the page of a plug-in."""
        await self.show(PLUGIN_PAGE, {**dict(pairs(self)), "plugin": name}, name)


class HomeHandler(JupyterHandler):
    """An address that stands for the first page."""

    def initialize(self, home: str) -> None:
        """`home` is the first page's name."""
        self._home = home

    @web.authenticated
    async def get(self) -> None:
        """Go there, leaving the token behind."""
        self.redirect(without_token(self, url_path_join(self.base_url, self._home)))


class NoPageHandler(BaseVoilaHandler):
    """Every other address."""

    async def prepare(self) -> None:
        """There is nothing, whoever asks."""
        await super().prepare()
        raise web.HTTPError(404)


class AliveHandler(web.RequestHandler):
    """`/health`: whether the server answers; open to all."""

    def get(self) -> None:
        """Say so."""
        self.finish({"status": "up"})


class KeptFiles(web.StaticFileHandler):
    """Files of several folders, at addresses that change with them: browsers keep them."""

    def initialize(self, paths: list[str]) -> None:  # type: ignore[override]
        """The first of `paths` that has a file gives it."""
        self._paths = paths
        super().initialize(path=paths[0])

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        """The file, wherever it lies; never one outside the folders."""
        relative = Path(absolute_path).relative_to(Path(root).absolute())
        for folder in self._paths:
            if Path(folder, relative).is_file():
                self.root = folder
                return super().validate_absolute_path(folder, str(Path(folder, relative)))
        raise web.HTTPError(404)

    def get_cache_time(self, path: str, modified: Any, mime_type: str) -> int:
        """Seconds."""
        return YEAR_SECONDS

    def set_extra_headers(self, path: str) -> None:
        """They never change."""
        self.set_header("Cache-Control", f"max-age={YEAR_SECONDS}, immutable")

    @classmethod
    def _get_cached_version(cls, abs_path: str) -> str | None:
        return None  # the address says it; no hash of every file


class ScriptsHandler(web.RequestHandler):
    """The many small scripts that a page begins with as one: it asks once and not seventy times.

    Each only leaves its modules for the one that begins (`voila.js`), so their order is free, and
    what is missing here is asked for when it is needed.
    """

    def initialize(self, paths: list[str]) -> None:
        """The scripts lie in `paths`."""
        self._paths = tuple(paths)

    async def get(self) -> None:
        """Give them."""
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.set_header("Cache-Control", f"max-age={YEAR_SECONDS}, immutable")
        self.write(await asyncio.to_thread(_joined, self._paths))


FIRST_SCRIPTS = files("bkg_workbench.widgets") / "jupyter" / "first-scripts.txt"


@cache
def _joined(paths: tuple[str, ...]) -> bytes:
    names = FIRST_SCRIPTS.read_text("utf-8").split()
    found = (Path(folder, name) for name in names for folder in paths)
    return b";\n".join(file.read_bytes() for file in found if file.is_file())


class PlotlyHandler(JupyterHandler):
    """`/static-bkg/plotly.min.js`: plotly's script, as its package has it."""

    @web.authenticated
    async def get(self) -> None:
        """Give it, or 404 where plotly has none."""
        file = plotly_script()
        if file is None:
            raise web.HTTPError(404)
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.set_header("Cache-Control", "private, max-age=604800")
        self.set_header("Etag", f'"{file.stat().st_size:x}-{file.stat().st_mtime_ns:x}"')
        if self.check_etag_header():
            self.set_status(304)
            return
        self.write(await asyncio.to_thread(file.read_bytes))


@cache
def plotly_script() -> Path | None:
    """The script in plotly's package; plotly itself is not imported."""
    found = importlib.util.find_spec("plotly")
    for folder in (found.submodule_search_locations or []) if found else []:
        file = Path(folder, "package_data", "plotly.min.js")
        if file.is_file():
            return file
    return None


def mark(folders: Iterable[str | Path]) -> str:
    """A name that changes whenever a file of `folders` does."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file():
                known = file.stat()
                digest.update(f"{file}\0{known.st_size}\0{known.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:12]


def make_renderer(app: Any, notebook: str, handler: Any = None) -> Renderer:
    """What renders `notebook` for `handler`."""
    return Renderer(
        request_handler=handler,
        voila_configuration=app.voila_configuration,
        traitlet_config=app.config,
        notebook_path=notebook,
        template_paths=app.template_paths,
        config_manager=app.config_manager,
        contents_manager=app.contents_manager,
        base_url=app.base_url,
        kernel_spec_manager=app.kernel_spec_manager,
        page_config=app.page_config(),
        mathjax_config="",
        mathjax_url="",
    )


async def warm_up(app: Any, notebook: str) -> None:
    """Render the head of a page for nobody, so that the first reader waits for no template."""
    renderer = make_renderer(app, notebook)
    none: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
    none.set_exception(KernelFailed("none"))
    with suppress(KernelFailed):
        await renderer.prepare(app.base_url)
        async for _ in renderer.generate_content_generator(None, none):
            pass


def pairs(handler: JupyterHandler) -> list[tuple[str, str]]:
    """The query of a request, without the token."""
    return [
        (key, value)
        for key in handler.request.query_arguments
        if key != "token"
        for value in handler.get_query_arguments(key)
    ]


def without_token(handler: JupyterHandler, path: str | None = None) -> str:
    """The address of a request, or `path`, with the request's query but the token."""
    query = pairs(handler)
    return (path or handler.request.path) + (f"?{urlencode(query)}" if query else "")
