"""The pages for people: one to draw on, at `/ui/`, and the description of every endpoint, at `/`.

BentoML has a page of endpoints too, but its own loads a script from another host, which then knows
who looks. These take nothing but what this service serves itself.
"""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from serving.resources import REPORT, REPORT_PICTURES, WEB

UI = "/ui"

# https://owasp.org/www-project-secure-headers/
SECURITY = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",  # or a browser would mix the files of two versions
}
NOTHING_ELSE = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
CONTENT = (
    NOTHING_ELSE + "script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'"
)
# Swagger's page sets styles on its elements, and HTML.
SWAGGER = (
    NOTHING_ELSE + "script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'"
)


def is_page(path: str) -> bool:
    """Whether this is the address of a page to draw on, or of what belongs to it."""
    return path == UI or path.startswith(f"{UI}/")


def routes() -> list[Route | Mount]:
    """Return the routes of all pages."""
    return [
        Route("/", endpoints),
        Route(UI, to_folder),
        Route(f"{UI}/models", models),
        Route(f"{UI}/report", report),
        Mount(f"{UI}/report", Files(REPORT_PICTURES)),
        Mount(UI, Files(WEB / "ui", html=True)),
    ]


class Files(StaticFiles):
    """The files of a folder, which take nothing from elsewhere."""

    def __init__(self, folder: Path, html: bool = False) -> None:
        super().__init__(directory=folder, html=html, check_dir=False)

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Answer with a file, or that it is as it was."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_headers(CONTENT))
        return response


async def endpoints(_: Request) -> Response:
    """The page that shows the OpenAPI document."""
    return FileResponse(WEB / "endpoints.html", headers=_headers(SWAGGER))


async def to_folder(_: Request) -> Response:
    """The way to the page, for those who leave the last slash out."""
    return RedirectResponse("ui/")


async def models(_: Request) -> Response:
    """The page that shows the models' cards."""
    return FileResponse(WEB / "ui" / "models.html", headers=_headers(CONTENT))


async def report(_: Request) -> Response:
    """The report on the trainings, where the service comes with it."""
    return HTMLResponse(_report(), headers=_headers(CONTENT))


@cache
def _report() -> str:
    try:
        text = REPORT.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise HTTPException(404) from None
    frame = (WEB / "ui" / "report.html").read_text(encoding="utf-8")
    return frame.replace("<!-- report -->", _html(text))


def _html(markdown: str) -> str:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    # A table may be wider than a phone; then it scrolls, with keys as well.
    parser.add_render_rule("table_open", lambda *_: '<div class="table" tabindex="0"><table>')
    parser.add_render_rule("table_close", lambda *_: "</table></div>")
    tokens = parser.parse(markdown)
    for token in tokens:
        # The alignment of a table's column, which the policy forbids as a style.
        if style := token.attrs.pop("style", None):
            token.attrs["class"] = str(style).removeprefix("text-align:")
    html: str = parser.renderer.render(tokens, parser.options, {})
    return html


def _headers(policy: str) -> Mapping[str, Any]:
    return {"Content-Security-Policy": policy, **SECURITY}
