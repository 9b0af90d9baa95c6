"""The most input tokens that a request can have, by what its parts say they are."""

from typing import Any

import pytest
from django.conf import settings

from proxy.formats.api_format import bound_input_tokens

DATA = "A" * 1_000_000


@pytest.mark.parametrize(
    ("part", "is_discounted"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64," + DATA}}, True),
        ({"type": "input_image", "image_url": "data:image/webp;base64," + DATA}, True),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}, True),
        ({"type": "image_url", "image_url": {"url": "data:application/pdf;base64," + DATA}}, False),
        ({"type": "image_url", "image_url": "data:text/plain," + DATA}, False),
        ({"type": "image", "source": {"type": "base64", "media_type": "application/pdf", "data": DATA}}, False),
        ({"type": "image", "source": {"type": "base64", "data": DATA}}, False),
        ({"type": "document", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}, False),
        ({"type": "text", "text": "data:image/png;base64," + DATA}, False),
    ],
)
def test_only_the_bytes_of_an_image_are_not_counted(part: dict[str, Any], is_discounted: bool) -> None:
    bound = bound_input_tokens([{"role": "user", "content": [part]}], len(DATA) + 200)
    if is_discounted:
        assert settings.IMAGE_TOKENS <= bound <= settings.IMAGE_TOKENS + 200
    else:
        assert bound >= len(DATA) / settings.BYTES_PER_TOKEN
