"""Pages name the ports that are set, not the usual ones."""

import html
import re
from typing import Any

from django.conf import settings
from django.test import Client

from tests.serving import Server

ACCOUNTS, ACCOUNT = "/admin/accounts/account/", "/admin/accounts/account/alice/change/"
HOME, HELP = "/", "/admin/support/help/"


def text_at(server: Server, client: Client, path: str) -> str:
    """What a reader sees of a page of the server, logged in as `client` is."""
    cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    response = server.http.request("GET", server.site + path, headers={"Cookie": cookie}, timeout=20)
    assert response.status == 200
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", response.data.decode())).split())


def test_pages_name_the_ports_of_their_server(server: Server, admin_client: Client, usersnew: Any) -> None:
    usersnew.insert_one({"_id": "alice"})
    openhands, ohmygpt = server.ports["OPENHANDS_PORT"], server.ports["OHMYGPT_PORT"]
    assert {openhands, ohmygpt}.isdisjoint({8004, 8005})
    pages = {path: text_at(server, admin_client, path) for path in (HOME, HELP, ACCOUNTS, ACCOUNT)}
    for path in (ACCOUNTS, ACCOUNT):
        assert f"OpenHands credits (port {openhands})" in pages[path]
        assert f"OhMyGPT credits (port {ohmygpt})" in pages[path]
    assert f"Pays for OpenHands requests on port {openhands} only." in pages[ACCOUNT]
    assert f"Pays for OhMyGPT requests on port {ohmygpt} only." in pages[ACCOUNT]
    assert f":{openhands}/v1 or /openhands/v1 on this site" in pages[HOME]
    assert f":{ohmygpt}/v1 or /ohmygpt/v1 on this site" in pages[HOME]
    assert [path for path, text in pages.items() if re.search(r"\b800[45]\b", text)] == []
