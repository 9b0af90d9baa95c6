"""Reading HTML pages in tests as a person does."""

import re
from typing import Any

from django.test import Client


def text_of(response: Any) -> str:
    """What a reader sees of a page: its text, blanks joined."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", response.content.decode(), flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def save(client: Client, address: str, form: dict[str, Any], **kwargs: Any) -> Any:
    """Send a form of the admin, and confirm the preview that it shows if it is one of those that ask."""
    response = client.post(address, form, **kwargs)
    token = re.search(r'name="token" value="([^"]+)"', response.content.decode())
    if token is None:
        return response
    return client.post(address, {**form, "token": token[1], "confirm": "1"}, **kwargs)


def page(client: Client, address: str) -> str:
    """The text of a page that must be there."""
    response = client.get(address)
    assert response.status_code == 200, response.content[:500]
    return text_of(response)
