"""A plain answer that is too large to hold in memory: known by its beginning, and its usage found while it passes."""

import json
import re
from typing import Any

from proxy.formats.api_format import ApiFormat, UsageReport
from proxy.formats.json_body import JsonObject
from proxy.formats.operator_costs import usage_without_costs

KEPT_BYTES = 64 * 1024
"""Of the beginning and of the end: both formats report the usage in one of them. The end is held back."""
READ_BYTES = 1024 * 1024
"""Of the beginning, to know the answer by."""
MOST_TRIED = 20
"""Places where a member of the outermost object may stand: the same names stand deeper, too."""

_MEMBER = r'(?<!\\)"%s"\s*:\s*(?=[{"])'
_SPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode


def begins_like_an_answer(start: bytes, api_format: ApiFormat) -> bool:
    """Whether the first bytes of a large answer are those of the format: an object with the list that answers have.

    What is none (a page, an error, garbage) must be known before anything of it is passed on.
    """
    text = start[:READ_BYTES].decode("utf-8", "replace")
    position = _skip(text, 0)
    if text[position : position + 1] != "{":
        return False
    members: JsonObject = {}
    try:
        while True:
            name, after = _decode(text, _skip(text, position + 1))
            position = _skip(text, _skip(text, after) + 1)  # Behind the colon.
            if not isinstance(name, str):
                return False
            value, position = _decode_start(text, position)
            members[name] = value
            position = _skip(text, position)
            if text[position : position + 1] != ",":
                break
    except (ValueError, RecursionError, IndexError):
        pass  # The rest is not read.
    answers = members.get(api_format.answer_member)
    return isinstance(answers, list) and bool(answers) and not members.get("error")


def _decode_start(text: str, position: int) -> tuple[Any, int]:
    """A value, and where it ends; of one that goes on beyond the text its first character, which says what it is."""
    try:
        return _decode(text, position)
    except (ValueError, RecursionError):
        opening = text[position : position + 1]
        return ([opening] if opening == "[" else {opening: opening} if opening == "{" else opening), len(text)


class LargeAnswerReader:
    """Passes an answer on and remembers its two ends. What they tell of the operator's costs is left out."""

    def __init__(self, api_format: ApiFormat) -> None:
        self.is_finished = False
        self.error: JsonObject | None = None
        self.answered_model: str | None = None
        self._api_format = api_format
        self._text = api_format.text_meter()
        self._usages: list[JsonObject] = []
        self._is_at_start = True
        self._tail = b""

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of generated text so far."""
        return self._text.size

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they arrive and return those before the end that is held back."""
        self._text.feed(data)
        if self._is_at_start:
            self._is_at_start = False
            data = self._read_head(data)
        data = self._tail + data
        passed, self._tail = data[:-KEPT_BYTES], data[-KEPT_BYTES:]
        return passed

    def flush(self) -> bytes:
        """The upstream has ended; the answer is whole if its object has."""
        text = self._tail.decode("utf-8", "surrogateescape")
        self._tail = b""
        if not text.rstrip().endswith("}"):
            return text.encode("utf-8", "surrogateescape")
        self.is_finished = True
        for name, start in _members_at_end(text):
            value = _decode(text, start)[0]
            if name == "usage" and isinstance(value, dict):
                self._usages.append(value)
                text = text[:start] + usage_without_costs(text[start:])
            elif name == "error" and value:
                self.error = {"error": value}
            elif name == "model" and isinstance(value, str):
                self.answered_model = value
        return text.encode("utf-8", "surrogateescape")

    def says_nothing(self) -> bool:
        """A large answer says something: its beginning was seen to be one."""
        return False

    def report(self) -> UsageReport:
        """The usage that stands in the answer's own object, at its end or its beginning."""
        uses = [{"server_tool_use": self._text.uses}] if self._usages and self._text.uses else []
        return self._api_format.read_usages([*self._usages, *uses])

    def _read_head(self, data: bytes) -> bytes:
        head, rest = data[:KEPT_BYTES], data[KEPT_BYTES:]
        text = head.decode("utf-8", "surrogateescape")
        for name, start in _members_at_start(text):
            value = _decode(text, start)[0]
            if name == "model" and isinstance(value, str):
                self.answered_model = value
            elif name == "usage" and isinstance(value, dict):
                self._usages.append(value)
                text = text[:start] + usage_without_costs(text[start:])
        return text.encode("utf-8", "surrogateescape") + rest


def _members_at_start(text: str) -> list[tuple[str, int]]:
    """The members of the outermost object that are whole in its beginning, and where their values stand, last first."""
    found = []
    position = _skip(text, 0)
    try:
        while text[position : position + 1] in ("{", ","):
            name, after = _decode(text, _skip(text, position + 1))
            start = _skip(text, _skip(text, after) + 1)
            position = _skip(text, _decode(text, start)[1])
            found.append((name, start))
    except (ValueError, RecursionError, IndexError):
        pass  # The next one goes on beyond the text.
    return found[::-1]


def _members_at_end(text: str) -> list[tuple[str, int]]:
    """The same for its end, of the members that matter: what follows one to the end must be members and the brace."""
    found = []
    for name in ("usage", "error", "model"):
        for match in list(re.finditer(_MEMBER % name, text))[: -MOST_TRIED - 1 : -1]:
            try:
                end = _skip(text, _decode(text, match.end())[1])
                rest = text[end + 1 :] if text[end] == "," else text[end:]
                json.loads("{" + rest)
            except (ValueError, RecursionError, IndexError):
                continue
            found.append((name, match.end()))
            break
    return sorted(found, key=lambda member: -member[1])


def _skip(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position
