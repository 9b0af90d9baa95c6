"""Reading HTML pages in tests as a person does."""

import re
from typing import Any

from django.test import Client


def text_of(response: Any) -> str:
    """What a reader sees of a page: its text, blanks joined."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", response.content.decode(), flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def page(client: Client, address: str) -> str:
    """The text of a page that must be there."""
    response = client.get(address)
    assert response.status_code == 200, response.content[:500]
    return text_of(response)
