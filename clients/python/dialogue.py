"""What the programs share: what the command says to them, and a sum of the tools that are called."""

import json
from pathlib import Path
from typing import Any

ASKED = json.loads(Path("asked.json").read_text())
MODEL, PROMPT = ASKED["model"], ASKED["prompt"]
KEY, BASE_URL = ASKED["api_key"], ASKED["base_url"]
BOUND = ASKED["turns"] + 5
"""More than the turns that are wanted: a client that goes on for longer is in a loop."""

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}


def demand(is_true: object, sentence: str) -> None:
    """End the program with the sentence where something is not as it must be."""
    if not is_true:
        raise SystemExit(sentence)
