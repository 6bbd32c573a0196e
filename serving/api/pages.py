"""The pages for people: the one to draw on, at `/ui/`, and the list of endpoints, at `/`.

BentoML's own page of endpoints loads a script from another host, which then learns who visits.
These pages load only what this service serves.
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
    "Cache-Control": "no-cache",  # so that browsers do not mix files of two versions
}
NOTHING_ELSE = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
CONTENT = (
    NOTHING_ELSE + "script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'"
)
# Swagger UI needs inline styles and sets HTML.
SWAGGER = (
    NOTHING_ELSE + "script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'"
)


def is_page(path: str) -> bool:
    """Whether this is an address below `/ui`."""
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
    """The files of a folder, with a policy that forbids other hosts."""

    def __init__(self, folder: Path, html: bool = False) -> None:
        super().__init__(directory=folder, html=html, check_dir=False)

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Return a file, or 304 if it is unchanged."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_headers(CONTENT))
        return response


async def endpoints(_: Request) -> Response:
    """Return the page that shows the OpenAPI document."""
    return FileResponse(WEB / "endpoints.html", headers=_headers(SWAGGER))


async def to_folder(_: Request) -> Response:
    """Redirect `/ui` to `/ui/`."""
    return RedirectResponse("ui/")


async def models(_: Request) -> Response:
    """Return the page that shows the models' cards."""
    return FileResponse(WEB / "ui" / "models.html", headers=_headers(CONTENT))


async def report(_: Request) -> Response:
    """Return the training report, if the service is shipped with it."""
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
    # A table may be wider than a phone; then it scrolls, also with the keyboard.
    parser.add_render_rule("table_open", lambda *_: '<div class="table" tabindex="0"><table>')
    parser.add_render_rule("table_close", lambda *_: "</table></div>")
    tokens = parser.parse(markdown)
    for token in tokens:
        # The policy forbids inline styles, here the alignment of table columns.
        if style := token.attrs.pop("style", None):
            token.attrs["class"] = str(style).removeprefix("text-align:")
    html: str = parser.renderer.render(tokens, parser.options, {})
    return html


def _headers(policy: str) -> Mapping[str, Any]:
    return {"Content-Security-Policy": policy, **SECURITY}
