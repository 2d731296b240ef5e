"""The server without a browser: who may speak to it, what it answers, and a page that follows its folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse
from tornado.ioloop import IOLoop
from tornado.websocket import websocket_connect

from nwidth.cli import main
from nwidth.dashboards.gate import token_for
from nwidth.dashboards.scheduler import ask_scheduler
from nwidth.dashboards.serving import make_server
from nwidth.dashboards.view import Dashboard
from nwidth.errors import ConfigError, StoreError
from tests.dashboards.folders import begin, event, finished, held, note
from tests.report.samples import line

TOKEN = "a-token-of-more-than-16"  # noqa: S105 - of a server that lives for a second


def visiting(folder: Path, visit: Callable[[str], Any], token: str | None = None, address: str = "127.0.0.1") -> Any:
    """What `visit(url)` gives while the server runs in this thread's loop."""

    async def served() -> Any:
        server, url = make_server(folder, port=0, address=address, token=token, loop=IOLoop.current())
        server.start()
        try:
            return await visit(url)
        finally:
            server.stop()
            await asyncio.sleep(0)

    return asyncio.run(served())


async def get(url: str, **headers: str) -> HTTPResponse:
    """The answer, whatever its status; redirects are not followed."""
    try:
        return await AsyncHTTPClient().fetch(HTTPRequest(url, headers=headers, follow_redirects=False), raise_error=False)
    except HTTPClientError as error:  # pragma: no cover - a connection that broke
        raise AssertionError(str(error)) from error


def test_on_this_host_everybody_on_it_may_look(tmp_path: Path) -> None:
    """The page and its scripts come from this host, and name no other."""

    async def visit(url: str) -> tuple[HTTPResponse, HTTPResponse]:
        return await get(url), await get(url + "static/js/bokeh.min.js")

    page, script = visiting(tmp_path, visit)
    assert (page.code, script.code) == (200, 200)
    text = page.body.decode()
    assert "cdn." not in text
    assert "https://" not in text


def test_foreign_names_and_origins_are_refused(tmp_path: Path) -> None:
    """A Host header that is not this host's, and a socket from another page, get 403, whatever they ask for."""

    async def visit(url: str) -> list[int]:
        answers = [await get(url, Host="evil.example"), await get(url + "static/js/bokeh.min.js", Host="evil.example")]
        codes = [answer.code for answer in answers] + [(await get(url, Origin="http://evil.example")).code]
        socket = HTTPRequest(url.replace("http", "ws") + "ws", headers={"Origin": "http://evil.example"})
        with pytest.raises(HTTPClientError) as refused:
            await websocket_connect(socket)
        return [*codes, refused.value.code, (await get(url, Host="localhost:1234")).code]

    assert visiting(tmp_path, visit) == [403, 403, 403, 403, 200]


def test_a_token_opens_and_nothing_else_does(tmp_path: Path) -> None:
    """Without the token, and with a wrong one, everything is 403; the right one gives a strict cookie, and this the page."""

    async def visit(url: str) -> None:
        base, _, secret = url.partition("?token=")
        assert secret == TOKEN
        for wrong in (
            "",
            "?token=",
            "?token=wrong",
            "?token=a-token-of-more-than-1%36x",
            "?token=%F0%9F%98%80",
            "static/js/bokeh.min.js",
        ):
            refused = await get(base + wrong)
            assert refused.code == 403, wrong
            assert TOKEN not in refused.body.decode()
        assert "asks for its token" in (await get(base)).body.decode()
        entered = await get(url)
        cookie = entered.headers["Set-Cookie"]
        assert (entered.code, entered.headers["Location"]) == (302, "/")
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        name, _, value = cookie.partition(";")[0].partition("=")
        assert (await get(base, Cookie=f"{name}={value}")).code == 200
        assert (await get(base, Cookie=f"{name}=wrong")).code == 403

    visiting(tmp_path, visit, token=TOKEN)


def test_another_address_always_has_a_token() -> None:
    """Beyond this host a token is made where none is given; a short one is refused everywhere."""
    made = {token_for("0.0.0.0", None) for _ in range(3)}  # noqa: S104
    assert len(made) == 3
    assert all(token is not None and len(token) >= 32 for token in made)
    assert token_for("127.0.0.1", None) is None
    with pytest.raises(ConfigError, match="at least 16"):
        token_for("0.0.0.0", "short")  # noqa: S104


def test_a_page_follows_a_run_that_fails(tmp_path: Path) -> None:
    """While the page is open a run begins, keeps blocks, and fails: the table says so each time, and the page stays."""

    async def follow() -> list[str]:
        seen = []
        made = Dashboard(tmp_path)
        seen.append(made.table.object)
        folder = begin(tmp_path / "study", 3)
        with held(folder):
            await made.refresh()
            seen.append(made.table.object)
        note(folder, event("failed", error="RunError: <b>no room</b> is left"))
        for path in (folder / ".attempt-k").rglob("*.part"):
            path.unlink()
        await made.refresh()
        assert made.page is not None
        return [*seen, made.table.object, made.page.events.object]

    empty, running, failed, ledger = asyncio.run(follow())
    assert "No run in" in empty
    assert "badge running" in running
    assert "3 of 8" in running
    assert "badge failed" in failed
    assert "&lt;b&gt;no room&lt;/b&gt;" in failed
    assert "no room" in ledger


def test_a_model_that_appears_is_shown_and_one_that_vanishes_is_not(tmp_path: Path) -> None:
    """A run that finishes gets its tabs without anybody reloading; when its folder is gone, the page is empty and alive."""

    async def follow() -> list[int]:
        made = Dashboard(tmp_path)
        folder = finished(tmp_path / "study", line())
        await made.refresh()
        assert made.page is not None
        counts = [len(made.page.tabs)]
        (folder / "model.zarr" / "manifest.json").write_text('{"nwidth_model": 99}')
        await made.refresh()
        assert "newer than this nwidth" in made.page.body.objects[0].object
        folder.rename(tmp_path / ".gone")
        await made.refresh()
        return [*counts, len(made.place)]

    tabs, left = asyncio.run(follow())
    assert tabs == 7
    assert left == 0


def test_a_scheduler_tells_its_tasks(scheduler: str) -> None:
    """A real scheduler answers with its task groups; one that is not there is said to be away, soon."""
    from distributed import Client

    with Client(scheduler) as client:
        future = client.submit(sum, (1, 2), key="counted-leaf")
        assert future.result() == 3
        found = asyncio.run(ask_scheduler(scheduler))
    assert "counted-leaf" in {group.name for group in found.groups}
    assert "does not answer" in asyncio.run(ask_scheduler("tcp://127.0.0.1:9", seconds=1.0)).words
    assert "does not answer" in asyncio.run(ask_scheduler("nonsense://", seconds=1.0)).words


def test_folders_and_ports_that_cannot_be_had_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is not there, a taken port and a foreign address are one sentence each."""
    with pytest.raises(StoreError, match="is not a folder"):
        make_server(tmp_path / "gone", port=0, address="127.0.0.1", token=None)
    assert main(["dashboard", str(tmp_path / "gone"), "--export", str(tmp_path / "page.html")]) == 1
    assert "is not a folder" in capsys.readouterr().err

    async def visit(url: str) -> None:
        port = int(url.rpartition(":")[2].strip("/"))
        with pytest.raises(ConfigError, match="the port is taken"):
            make_server(tmp_path, port=port, address="127.0.0.1", token=None, loop=IOLoop.current())

    visiting(tmp_path, visit)
