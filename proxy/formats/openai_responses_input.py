"""The items, content parts and tools of a Responses request: which pass, which have a price, which are refused.

They are those of https://platform.openai.com/docs/api-reference/responses/create; tests/proxy/formats/test_members.py
compares them with the official SDK. Nothing is stored for customers, so whatever names a stored thing is refused.
"""

from dataclasses import dataclass
from typing import Any

from proxy.errors import InvalidRequest, UnsupportedParameter
from proxy.formats.json_body import JsonObject
from proxy.formats.members import (
    CLIENT_TOOL_TOKENS,
    GATEWAY_MEMBERS,
    PASSES,
    Asked,
    Attachment,
    AudioData,
    ByType,
    CacheTtl,
    Each,
    Fields,
    FileData,
    ImageData,
    ImageUrl,
    Option,
    Refused,
    Rule,
    passing,
    refusing,
)

NOT_STORED = (
    "Nothing is stored here: send the whole item instead of its id. Clients do that when they are told 'store': false."
)
ORIGINAL_DETAIL_TOKENS = 10_000
"""What an image may be beyond its usual bound where its detail is `original`: it is then not scaled down, and vendors
take up to this many patches of it.
"""


class Text(Rule):
    """Text, and nothing that one upstream or another might read something else out of."""

    def read(self, value: Any, asked: Asked) -> None:
        if not isinstance(value, str):
            raise InvalidRequest(f"{asked.name()!r} must be text.", param=asked.name())


@dataclass(frozen=True)
class Labels(Rule):
    """An object of texts that a client marks its request with. Where gateways read it, names that steer are refused."""

    is_read_by_gateways: bool

    def read(self, value: Any, asked: Asked) -> None:
        if not isinstance(value, dict):
            raise InvalidRequest(f"{asked.name()!r} must be an object.", param=asked.name())
        for name, text in value.items():
            steers = name in GATEWAY_MEMBERS or name.lower().startswith(("litellm", "user_api_key"))
            if steers and self.is_read_by_gateways:
                raise UnsupportedParameter(asked.name(name), "It steers the gateway, which only the operator does.")
            if text is not None and not isinstance(text, str):
                raise UnsupportedParameter(asked.name(name), "A value has to be text.")


@dataclass(frozen=True)
class Off(Refused):
    """Refused unless it is false, which asks for nothing."""

    def read(self, value: Any, asked: Asked) -> None:
        if value is not False:
            super().read(value, asked)


class ImageDetail(Rule):
    """How large the model sees an image: `original` is not scaled down, and may be more tokens than any other."""

    def read(self, value: Any, asked: Asked) -> None:
        if value == "original":
            asked.input_tokens += ORIGINAL_DETAIL_TOKENS


@dataclass(frozen=True)
class Items(ByType):
    """Items by their type. One without a type is a message if it has a role, and else a name of a stored item."""

    def read(self, value: Any, asked: Asked) -> None:
        if isinstance(value, dict) and value.get("type") is None:
            kind = "item_reference" if value.get("role") is None else "message"
            self.rules[kind].read(value, asked)
        else:
            super().read(value, asked)


@dataclass(frozen=True)
class Whole(Fields):
    """An item that holds its content. One without it names a stored item, whose size is not known."""

    content: str = ""

    def read(self, value: Any, asked: Asked) -> None:
        if isinstance(value, dict) and value.get(self.content) is None:
            raise UnsupportedParameter(asked.name(), NOT_STORED)
        super().read(value, asked)


@dataclass(frozen=True)
class VendorDescribed(Fields):
    """A tool that the client runs and the vendor describes: a bound stands for the description."""

    def read(self, value: Any, asked: Asked) -> None:
        asked.input_tokens += CLIENT_TOOL_TOKENS
        super().read(value, asked)


# --- Content parts -----------------------------------------------------------------------------------------------

_CACHE_CONTROL = Fields({"type": PASSES, "ttl": CacheTtl()})
CACHE_TTL = Option(frozenset(("30m",)))
_MARKED: dict[str, Rule] = {
    "type": PASSES,
    "prompt_cache_breakpoint": Fields({"mode": PASSES, "ttl": CACHE_TTL}),
    "cache_control": _CACHE_CONTROL,  # Of gateways to Anthropic's models.
}
_INPUT_PARTS: dict[str, Rule] = {
    "input_text": Fields({**_MARKED, "text": Text()}),
    "input_image": Fields(
        {**_MARKED, "detail": ImageDetail(), "image_url": ImageUrl(), "file_id": Attachment("file_id")}
    ),
    "input_file": Fields(
        {
            **_MARKED,
            **passing("detail", "filename"),
            "file_data": FileData(),
            "file_id": Attachment("file_id"),
            "file_url": Attachment("document_url"),
        }
    ),
    "input_audio": Fields({**_MARKED, "input_audio": Fields({"data": AudioData(), "format": PASSES})}),
}
_PARTS: dict[str, Rule] = {
    **_INPUT_PARTS,
    "output_text": Fields({**_MARKED, "text": Text(), **passing("annotations", "logprobs", "parsed")}),
    "text": Fields({**_MARKED, "text": Text()}),
    "refusal": Fields(passing("type", "refusal")),
    "reasoning_text": Fields(passing("type", "text")),
    "summary_text": Fields(passing("type", "text")),
}
_OUTPUT_OF_TOOL = Each(ByType(_INPUT_PARTS), or_text=True)

# --- Tools -------------------------------------------------------------------------------------------------------

_OF_EVERY_TOOL = passing("type", "name", "description", "allowed_callers", "defer_loading", "async")
_FUNCTIONS: dict[str, Rule] = {
    "function": Fields(
        {**_OF_EVERY_TOOL, **passing("parameters", "strict", "output_schema"), "cache_control": _CACHE_CONTROL}
    ),
    "custom": Fields({**_OF_EVERY_TOOL, **passing("format")}),
}
_CLIENT_TOOLS: dict[str, Rule] = {
    **_FUNCTIONS,
    "namespace": Fields({**passing("type", "name", "description"), "tools": Each(ByType(_FUNCTIONS))}),
    "apply_patch": VendorDescribed(passing("type", "allowed_callers")),
    "local_shell": VendorDescribed(passing("type")),
    "computer": VendorDescribed(passing("type")),
    "computer_use_preview": VendorDescribed(passing("type", "display_height", "display_width", "environment")),
}
_ENVIRONMENTS: dict[str, Rule] = {
    "local": Fields(passing("type", "skills")),
    **refusing("The upstream would run it.", "container_auto", "container_reference"),
}
_OF_EITHER: dict[str, Rule] = {
    "shell": VendorDescribed({**passing("type", "allowed_callers"), "environment": ByType(_ENVIRONMENTS)}),
    "tool_search": VendorDescribed(passing("type", "execution", "description", "parameters")),
}
DESCRIBED: dict[str | None, Rule] = dict((_CLIENT_TOOLS | _OF_EITHER).items())
"""Tools that the client runs; those of either only if `RUN_BY_CLIENT` says so."""


def _is_local_shell(tool: JsonObject) -> bool:
    environment = tool.get("environment")
    return isinstance(environment, dict) and environment.get("type") == "local"


def _is_search_of_the_client(tool: JsonObject) -> bool:
    return tool.get("execution") == "client"


RUN_BY_CLIENT = {"shell": _is_local_shell, "tool_search": _is_search_of_the_client}
"""Whether the client runs a tool of a type that either may run: what does not say so is run by the upstream."""

_UPSTREAM_TOOLS = refusing(
    "Among the items a tool of the upstream cannot be left out: name it in 'tools'.",
    *("web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11", "file_search"),
    *("code_interpreter", "image_generation", "mcp", "programmatic_tool_calling", "shell", "tool_search"),
)
_TOOLS_OF_AN_ITEM = Each(ByType(_CLIENT_TOOLS | _UPSTREAM_TOOLS))

# --- Items -------------------------------------------------------------------------------------------------------

_OF_EVERY_ITEM = passing("type", "id", "status", "call_id", "caller")


def _item(*names: str, **rules: Rule) -> Fields:
    """An item with these members; what is said in it counts by its bytes."""
    return Fields({**_OF_EVERY_ITEM, **passing(*names), **rules})


_SCREENSHOT = Fields(
    {"type": PASSES, "image_url": ImageUrl(), "file_id": Attachment("file_id"), "detail": ImageDetail()}
)
_RUN_OUTPUT: dict[str, Rule] = {
    "logs": Fields(passing("type", "logs")),
    "image": Fields({"type": PASSES, "url": ImageUrl()}),
}
ITEMS = Items(
    {
        "message": _item("role", "phase", content=Each(ByType(_PARTS), or_text=True), cache_control=_CACHE_CONTROL),
        "reasoning": _item("summary", "content", "encrypted_content"),
        "compaction": _item("encrypted_content"),
        # `parsed…` is what the official SDKs add to answers that they parsed, which clients send back as they are.
        "function_call": _item("name", "namespace", "arguments", "parsed_arguments", "async"),
        "function_call_output": _item("name", "namespace", output=_OUTPUT_OF_TOOL),
        "custom_tool_call": _item("name", "namespace", "input", "async"),
        "custom_tool_call_output": _item("name", output=_OUTPUT_OF_TOOL),
        "local_shell_call": _item("action"),
        "local_shell_call_output": _item(output=Text()),
        "shell_call": _item("action", "environment"),
        "shell_call_output": _item("output", "max_output_length"),
        "apply_patch_call": _item("operation"),
        "apply_patch_call_output": _item(output=Text()),
        "computer_call": _item("action", "actions", "pending_safety_checks"),
        "computer_call_output": _item(
            "acknowledged_safety_checks", output=ByType({"computer_screenshot": _SCREENSHOT, **_INPUT_PARTS})
        ),
        # What tools of the upstream did in an earlier turn: text of this request now.
        "web_search_call": _item("action"),
        "file_search_call": _item("queries", "results"),
        "code_interpreter_call": _item("code", "container_id", outputs=Each(ByType(_RUN_OUTPUT))),
        "image_generation_call": Whole(
            {
                **_OF_EVERY_ITEM,
                **passing("action", "background", "error", "output_format", "quality", "revised_prompt", "size"),
                **passing("svg_usage"),
                "result": ImageData(),
            },
            content="result",
        ),
        "mcp_list_tools": _item("server_label", "tools", "error"),
        "mcp_approval_request": _item("name", "server_label", "arguments"),
        "mcp_approval_response": _item("approval_request_id", "approve", "reason"),
        "mcp_call": _item("name", "server_label", "arguments", "approval_request_id", "error", "output"),
        "program": _item("code", "fingerprint"),
        "program_output": _item("result"),
        "tool_search_call": _item("arguments", "execution"),
        "tool_search_output": _item("execution", tools=_TOOLS_OF_AN_ITEM),
        "additional_tools": _item("role", tools=_TOOLS_OF_AN_ITEM),
        "configuration_update": _item(reasoning=Fields(passing("effort")), text=Fields(passing("format", "verbosity"))),
        "item_reference": Refused(NOT_STORED),
        "compaction_trigger": Refused("What the compaction of a conversation costs is not known here."),
    }
)
