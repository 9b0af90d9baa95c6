"""The home page."""

from typing import Any

from django.test import Client

from tests.pages import page


def test_home_says_what_this_is(client: Client, db: None) -> None:
    text = page(client, "/")
    assert "http://testserver:8004/v1" in text
    assert "http://testserver:8005/v1" in text
    assert "purchases go to OpenHands" in text
    assert "paused" not in text


def test_home_shows_the_maintenance_text_when_purchasing_is_off(client: Client, db: None, settings: Any) -> None:
    settings.HAS_PURCHASING = False
    settings.MAINTENANCE_TEXT = "Back at noon <soon>."
    assert "Back at noon &lt;soon&gt;." in page(client, "/")


def test_the_admin_index_and_its_static_files_come_from_this_site(admin_client: Client) -> None:
    body = admin_client.get("/admin/").content.decode()
    assert "LLM credits" in body
    for attribute in ('href="http', 'src="http', 'href="//', 'src="//'):
        assert attribute not in body
