"""How the payment API reads what customers send: strict JSON, in UTF-8, of a bounded size."""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from border import strict_json
from border.strict_json import InvalidJson
from payments.errors import BodyTooLarge

MAX_BODY_BYTES = 16 * 1024


class StrictJsonParser(BaseParser):
    """Refuses what DRF's own parser fails on or lets pass: deep nesting, half characters, a name that occurs twice."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """The value that a body says. Raises `BodyTooLarge`, and DRF's `ParseError`, a 400."""
        body = stream.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge(MAX_BODY_BYTES)
        try:
            return strict_json.parse(body, refuses_half_characters=True)
        except InvalidJson as error:
            raise ParseError(str(error)) from error
