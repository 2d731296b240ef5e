"""Who may speak to the server: on the loopback interface whoever is on this host, elsewhere who shows the token.

    request ──> Host one of ours? ──> Origin the same? ──> token asked? ──> cookie right? ──> the page
                      │ no                   │ no                │ query ?token= right: cookie, and back without it
                     403                    403                 403

The gate stands before everything: pages, scripts, pictures and the web socket. A name that points at this host by somebody
else's will (DNS rebinding) is refused on the loopback interface; so is a socket that the page of another site opens.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest
from tornado.routing import Matcher, Rule
from tornado.web import RequestHandler

from nwidth.errors import ConfigError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHORTEST_TOKEN = 16
FORBIDDEN = (
    "<!doctype html><html lang='en'><meta charset='utf-8'><title>403: nwidth dashboard</title>"
    "<body style='font: 16px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 4rem auto; padding: 0 1rem'>"
    "<h1 style='font-size: 1.4rem'>This dashboard asks for its token</h1>"
    "<p>{reason} Open the address that <code>nwidth dashboard</code> printed, with <code>?token=...</code> at its end.</p>"
)


def token_for(address: str, given: str | None) -> str | None:
    """The token of a server: the given one; a fresh one where others than this host could ask; none on loopback.

    Raises
    ------
    ConfigError
        The given token is too short to withstand guessing.
    """
    if given is not None and len(given) < SHORTEST_TOKEN:
        raise ConfigError(
            f"the token has {len(given)} characters, expected at least {SHORTEST_TOKEN}; leave --token out, and one is made"
        )
    return given if given is not None or address in LOOPBACK else secrets.token_urlsafe(24)


def same(shown: str, token: str) -> bool:
    """Whether a token is the right one, in a time that does not tell where it differs."""
    return hmac.compare_digest(shown.encode("utf-8", "surrogatepass"), token.encode())


class Gate(Matcher):
    """Matches what is refused, or sent on with its cookie; everything else goes to the page."""

    def __init__(self, address: str, token: str | None) -> None:
        self.any_host = address not in LOOPBACK
        self.token = token
        # Of the token, so that two dashboards on one host, which share their cookies, do not shut each other out.
        self.cookie = "nwidth-" + hashlib.sha256((token or "").encode()).hexdigest()[:12]

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """None where the request may pass."""
        if not self.knows(request):
            return {}
        if self.token is None:
            return None
        shown = request.cookies.get(self.cookie)
        return None if shown is not None and same(shown.value, self.token) else {}

    def knows(self, request: HTTPServerRequest) -> bool:
        """Whether the request asks for a name of ours, and comes from a page of ours if from any."""
        if not self.any_host and host_of(request.host) not in LOOPBACK:
            return False
        origin = request.headers.get("Origin")
        return origin is None or origin.partition("//")[2] == request.host

    def rule(self) -> Rule:
        """For the front of a server's rules."""
        return Rule(self, Refuse, {"gate": self})


class Refuse(RequestHandler):
    """403; or, for the right token in the address, the cookie and the address without it."""

    def initialize(self, gate: Gate) -> None:
        self.gate = gate

    def prepare(self) -> None:
        """Answer every method alike."""
        shown = self.get_query_argument("token", None)
        known = self.gate.knows(self.request)
        if known and self.gate.token is not None and shown is not None and same(shown, self.gate.token):
            self.set_cookie(self.gate.cookie, self.gate.token, httponly=True, samesite="Strict", path="/")
            self.redirect(urlsplit(self.request.uri or "/").path or "/")
            return
        self.set_status(403)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        # No word of what was asked for comes back: nothing of a request is ever part of a page.
        reason = (
            "The token was missing or wrong."
            if known
            else "It was asked for by another page, or under a name that is not this host's."
        )
        self.finish(FORBIDDEN.replace("{reason}", reason))


def host_of(header: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""
