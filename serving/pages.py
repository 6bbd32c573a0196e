"""The pages for people: the description of every endpoint at `/`.

BentoML has such a page too, but its own loads a script from another host, which then knows who
looks. This one takes nothing but what BentoML serves itself.
"""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

INDEX = (Path(__file__).parent / "web" / "index.html").read_text(encoding="utf-8")

# https://owasp.org/www-project-secure-headers/. Swagger's page sets styles on its elements.
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


async def index(_: Request) -> Response:
    """The page that shows the OpenAPI document."""
    return HTMLResponse(INDEX, headers=SECURITY)
