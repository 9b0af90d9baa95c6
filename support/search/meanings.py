"""What a searched text may mean: an API key, order codes, ids. Pure but for the settings; look-ups decide."""

import re

from django.conf import settings

from accounts.keys import KEY_PREFIX, mask_keys_in
from payments.orders import codes

LONGEST = 200
"""Characters of a search; what anybody looks for is shorter."""
LEAST_OF_AN_ID = 6
"""Characters that the beginning of an id, or of an order code, has at least."""
_LEAST_OF_A_KEY, _MOST_OF_A_KEY = 20, 256
_RANDOM_PART = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)
_AROUND = " \t\r\n….,;\"'`<>()[]“”‘’"
_MENTION = re.compile(r"<@!?([0-9]{17,19})>")
_OLD_CODE = re.compile(r"TROLL([0-9OIL]{1,4})D([0-9OIL]{13})([0-9A-Z]{0,4})")
_DIGITS_MEANT = str.maketrans("OIL", "011")


def clean(text: str) -> str:
    """A text as it is searched: without what pages and people put around it."""
    text = " ".join(text.replace("\0", "").split())
    if mention := _MENTION.fullmatch(text):
        return mention[1]
    return text.strip(_AROUND)[:LONGEST]


def has_key(text: str) -> bool:
    """Whether a whole API key, or the random part of one, stands in a text: then no page, log or address repeats it."""
    return mask_keys_in(text) != text


def keys_in(text: str) -> list[str]:
    """What may be a whole API key in a text: keys of old accounts may look like anything."""
    words = [word.strip(_AROUND) for word in text.split()[:5] if "…" not in word]
    found = [word for word in words if word.isascii() and _LEAST_OF_A_KEY <= len(word) <= _MOST_OF_A_KEY]
    return [*found, *(KEY_PREFIX + word.lower() for word in found if _RANDOM_PART.fullmatch(word))]


def order_codes_in(text: str) -> list[str]:
    """The order codes that a text may be. Hyphens, spaces, small letters do not matter, nor O for 0, I or L for 1."""
    normal = codes.normalise(text)
    old = [
        f"TROLL{credits.translate(_DIGITS_MEANT)}D{milliseconds.translate(_DIGITS_MEANT)}{end}"
        for credits, milliseconds, end in _OLD_CODE.findall(normal)
    ]
    found = [text, text.upper(), normal, *old, *codes.find_candidates([text, *old], settings.ORDER_CODE_PREFIX)]
    return [code for code in dict.fromkeys(found) if code]


def beginnings_of_codes(text: str) -> list[str]:
    """What order codes may begin with when a text is the beginning of one; none for what is too short to tell."""
    normal = codes.normalise(text)
    if len(normal) < LEAST_OF_AN_ID:
        return []
    prefix, rest = normal[: codes.PREFIX_LENGTH], normal[codes.PREFIX_LENGTH :]
    readable = settings.ORDER_CODE_PREFIX + rest.translate(_DIGITS_MEANT)
    is_ours = prefix.translate(_DIGITS_MEANT) == settings.ORDER_CODE_PREFIX.translate(_DIGITS_MEANT)
    return list(dict.fromkeys([normal, readable] if is_ours else [normal]))


def references_in(text: str) -> list[str]:
    """A bank's reference as events keep it: letters and digits alone, without zeros in front."""
    normal = codes.normalise(text).lstrip("0")
    return [normal] if normal else []


def event_ids_of(text: str) -> list[str]:
    """The ids under which an event is kept: the list of SePay's API has ids of its own, kept with a mark."""
    return [text, f"listed:{text}"]
