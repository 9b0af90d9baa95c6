"""The calls of tools that the fake upstream makes: which tool, and arguments that its schema accepts. Pure."""

from dataclasses import dataclass
from typing import Any

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class ToolCall:
    """A call of a client's tool."""

    name: str
    arguments: JsonObject


def tool_name(tool: JsonObject) -> str:
    """The name of a tool as any of the formats declares it."""
    return str(tool.get("function", tool).get("name"))


def count_results(message: JsonObject) -> int:
    """How many results of tools a message brings."""
    if message.get("role") == "tool":
        return 1
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return sum(isinstance(part, dict) and part.get("type") == "tool_result" for part in parts)


def choose_call(tools: list[JsonObject], names: list[str] | None, *, turn: int) -> ToolCall | None:
    """The call of a turn, from 0: the named tools take turns, else the first is called. None where it is missing."""
    declared = {tool_name(tool): tool for tool in tools}
    name = names[turn % len(names)] if names else next(iter(declared), None)
    if name is None or name not in declared:
        return None
    function = declared[name].get("function", declared[name])
    schema = function.get("parameters") or function.get("input_schema") or {}
    return ToolCall(name, example({"type": "object", **schema}, turn + 1))


def example(schema: JsonObject, number: int) -> Any:
    """A value that a JSON schema accepts, with the members that it requires; a text is a command for a shell."""
    if "const" in schema or "enum" in schema:
        return schema.get("const", (schema.get("enum") or [None])[0])
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return example(choices[0], number)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        members = schema.get("properties") or {}
        return {name: example(members.get(name, {}), number) for name in schema.get("required") or ()}
    if kind == "array":
        items = schema.get("items") or {}
        is_command = items.get("type") == "string" and "enum" not in items
        return ["echo", str(number)] if is_command else [example(items, number)]
    values = {"integer": number, "number": number, "boolean": False, "null": None}
    return values.get(str(kind), f"echo {number}")
