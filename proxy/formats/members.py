"""What a request may ask for: tables of members, and how a request is read by them before anything is forwarded.

A format's table (data, in the format's own file) puts every member into one of three classes: it passes, it has a
price of its own (`Option`, `ServerTools`, …), or it is refused. A member that no table knows is refused too, unless the
operator lists it in `PASSED_MEMBERS` or on the price row. null asks for nothing, wherever it stands.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from proxy.errors import InvalidRequest, UnsupportedParameter
from proxy.formats.images import data_of_url, image_tokens
from proxy.formats.json_body import JsonObject

MOST_TOOLS = 10_000
"""Of one request. Vendors take a few hundred; each that is left out is remembered until the request has ended."""
MOST_USES = 1_000_000
"""Of one tool that the upstream runs, in one request."""
LIKELY_FILE_BYTES_PER_TOKEN = 4
"""Of a file in base64. The bound of a file is that of a large one."""


@dataclass(frozen=True)
class ServerTool:
    """A tool that the upstream runs itself: what a price row calls it, its type and its own name, where it stands.

    One that `is_never_left_out` is refused where it has no price, since no client sends it unasked.
    """

    name: str
    kind: str
    label: str | None
    position: int
    most_uses: int | None
    is_never_left_out: bool = False


@dataclass
class Asked:
    """What was found in a request that its tables do not simply pass. Names are paths such as `messages.content.type`.

    `input_tokens` and `hidden_bytes` correct the bound of the input: tokens of images and tools that are not in the
    body as text, and the bytes of the images' data, which are no text. The last three are for estimates of usage that
    was not reported: bytes of files and sound in base64, and how many of the `input_tokens` small files hardly have.
    """

    path: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    options: list[tuple[str, str]] = field(default_factory=list)
    server_tools: list[ServerTool] = field(default_factory=list)
    attachments: list[tuple[str, str]] = field(default_factory=list)
    has_1h_cache: bool = False
    has_audio_input: bool = False
    has_audio_output: bool = False
    tools: int = 0
    images: int = 0
    image_tokens: int = 0
    input_tokens: int = 0
    hidden_bytes: int = 0
    file_bytes: int = 0
    audio_bytes: int = 0
    unlikely_tokens: int = 0
    known_unknown: set[str] = field(default_factory=set)

    def note_unknown(self, name: str) -> None:
        """Add a name to `unknown`, once however often it occurs."""
        if name not in self.known_unknown:
            self.known_unknown.add(name)
            self.unknown.append(name)

    def name(self, member: str = "") -> str:
        """The path of the member that is read now, or of one in it."""
        return ".".join([*self.path, member] if member else self.path)


class Rule(ABC):
    """How the value of a member is read."""

    @abstractmethod
    def read(self, value: Any, asked: Asked) -> None:
        """Note in `asked` what the value asks for. Raises `UnsupportedParameter`, `InvalidRequest`."""


class Passes(Rule):
    """Any value passes: it costs no more than its tokens."""

    def read(self, value: Any, asked: Asked) -> None:
        pass


class Flag(Rule):
    """true or false, and nothing that one upstream or another might take for either."""

    def read(self, value: Any, asked: Asked) -> None:
        if not isinstance(value, bool):
            raise InvalidRequest(f"{asked.name()!r} must be true or false.", param=asked.name())


@dataclass(frozen=True)
class Refused(Rule):
    """Refused whatever its value; `why` is told to the client."""

    why: str

    def read(self, value: Any, asked: Asked) -> None:
        raise UnsupportedParameter(asked.name(), self.why)


@dataclass(frozen=True)
class Option(Rule):
    """Changes the price of the whole request: `plain` values do not, another one needs its multiplier in the row."""

    plain: frozenset[str]

    def read(self, value: Any, asked: Asked) -> None:
        if not isinstance(value, str):
            raise InvalidRequest(f"{asked.name()!r} must be text.", param=asked.name())
        if value not in self.plain:
            asked.options.append((asked.name(), f"{asked.name()}={value}"))


@dataclass(frozen=True)
class Presence(Rule):
    """Changes the price of the whole request by being there: the row needs a multiplier of its name."""

    def read(self, value: Any, asked: Asked) -> None:
        asked.options.append((asked.name(), asked.name()))


@dataclass(frozen=True)
class Attachment(Rule):
    """Content whose tokens cannot be known from the body: the row needs a bound for a part of its `kind`."""

    kind: str

    def read(self, value: Any, asked: Asked) -> None:
        asked.attachments.append((asked.name(), self.kind))


class CacheTtl(Rule):
    """How long a cache entry is kept: an hour has a price of its own."""

    def read(self, value: Any, asked: Asked) -> None:
        if value == "1h":
            asked.has_1h_cache = True
        elif value != "5m":
            raise UnsupportedParameter(asked.name(), "A cache entry is kept for '5m' or '1h'.")


class ImageData(Rule):
    """An image in base64: it counts by its pixels. What does not begin like an image counts by its bytes, as text."""

    def read(self, value: Any, asked: Asked) -> None:
        if isinstance(value, str) and (tokens := image_tokens(value)) is not None:
            asked.input_tokens += tokens
            asked.hidden_bytes += len(value)
            asked.images += 1
            asked.image_tokens += tokens


class ImageUrl(Rule):
    """The address of an image: a `data:` address holds it, any other one needs a bound in the price row."""

    def read(self, value: Any, asked: Asked) -> None:
        if not isinstance(value, str) or not value.startswith("data:"):
            asked.attachments.append((asked.name(), "image_url"))
        elif (data := data_of_url(value)) is not None:
            ImageData().read(data, asked)


@dataclass(frozen=True)
class UrlOrObject(Rule):
    """An address, or an object that holds it beside other members."""

    url: Rule
    members: Mapping[str, Rule]

    def read(self, value: Any, asked: Asked) -> None:
        if isinstance(value, str):
            self.url.read(value, asked)
        else:
            Fields(self.members).read(value, asked)


class Modalities(Rule):
    """What the model may answer with: text passes, sound needs a price in the row, anything else is refused."""

    def read(self, value: Any, asked: Asked) -> None:
        kinds = value if isinstance(value, list) else [value]
        if any(kind not in ("text", "audio") for kind in kinds):
            raise UnsupportedParameter(asked.name(), "Only 'text' and 'audio' are known here.")
        asked.has_audio_output = "audio" in kinds


class FileData(Rule):
    """A file in the body: its bytes count as text, and a bound for what its pages may be beside that."""

    def read(self, value: Any, asked: Asked) -> None:
        asked.input_tokens += settings.FILE_TOKENS
        if isinstance(value, str):
            asked.file_bytes += len(value)
            asked.unlikely_tokens += max(settings.FILE_TOKENS - len(value) // LIKELY_FILE_BYTES_PER_TOKEN, 0)


class AudioData(Rule):
    """Sound in the body, whose bytes are more than its tokens; the row needs a price for it."""

    def read(self, value: Any, asked: Asked) -> None:
        asked.has_audio_input = True
        if isinstance(value, str):
            asked.audio_bytes += len(value)


@dataclass(frozen=True)
class Fields(Rule):
    """An object with these members and no other."""

    members: Mapping[str, Rule]

    def read(self, value: Any, asked: Asked) -> None:
        if not isinstance(value, dict):
            raise InvalidRequest(f"{asked.name()!r} must be an object.", param=asked.name())
        members, path = self.members, asked.path
        for name, inner in value.items():
            rule = members.get(name)
            if rule is PASSES or inner is None:
                continue
            if rule is None:
                asked.note_unknown(asked.name(name))
                continue
            path.append(name)
            rule.read(inner, asked)
            path.pop()


@dataclass(frozen=True)
class Each(Rule):
    """A list, each item of which is read by one rule. With `or_text` it may be text instead."""

    rule: Rule
    or_text: bool = False

    def read(self, value: Any, asked: Asked) -> None:
        if isinstance(value, list):
            for item in value:
                self.rule.read(item, asked)
        elif not (self.or_text and isinstance(value, str)):
            raise InvalidRequest(f"{asked.name()!r} must be a list.", param=asked.name())


@dataclass(frozen=True)
class ByType(Rule):
    """An object that is read by the rule for its `type`; text passes if `or_text`.

    A type that is not in the table, or none, is refused, by its name.
    """

    rules: Mapping[str, Rule]
    or_text: bool = False

    def read(self, value: Any, asked: Asked) -> None:
        if not isinstance(value, dict):
            if self.or_text and isinstance(value, str):
                return
            raise InvalidRequest(f"{asked.name()!r} must be an object.", param=asked.name())
        kind = value.get("type")
        rule = self.rules.get(kind) if isinstance(kind, str) else None
        if rule is None:
            asked.note_unknown(asked.name(f"type={str(kind)[:60]}"))
            return
        rule.read(value, asked)


@dataclass(frozen=True)
class Tools(Rule):
    """The list of tools: those that the client runs cost their tokens, those that the upstream runs cost fees.

    `described` are the rules of tools whose whole description stands in the request, by type. A type that begins with
    one of `CLIENT_TOOLS` is described by the vendor: its description is not in the body, so a bound stands for it.
    `run_by_client` says of types that either may run whether the client runs a tool. `never_left_out` are tools of the
    upstream, by the names of price rows, that are refused without a price instead of being left out.
    """

    described: Mapping[str | None, Rule]
    run_by_client: Mapping[str, Callable[[JsonObject], bool]] = field(default_factory=dict)
    never_left_out: frozenset[str] = frozenset()

    def read(self, value: Any, asked: Asked) -> None:
        if not isinstance(value, list):
            raise InvalidRequest(f"{asked.name()!r} must be a list.", param=asked.name())
        asked.tools += len(value)
        if asked.tools > MOST_TOOLS:
            raise InvalidRequest(f"{asked.name()!r} has more than {MOST_TOOLS:,} tools.", param=asked.name())
        for position, tool in enumerate(value):
            if not isinstance(tool, dict):
                raise InvalidRequest(f"{asked.name()!r} must be a list of objects.", param=asked.name())
            kind = tool.get("type")
            if kind is not None and not isinstance(kind, str):
                raise InvalidRequest("The type of a tool must be text.", param=asked.name("type"))
            decides = self.run_by_client.get(kind or "")
            rule = self.described.get(kind) if decides is None or decides(tool) else None
            if rule is not None:
                rule.read(tool, asked)
            elif name := next((name for prefix, name in SERVER_TOOLS.items() if str(kind).startswith(prefix)), None):
                most, label = tool.get("max_uses"), tool.get("name")
                most_uses = most if isinstance(most, int) and not isinstance(most, bool) and most > 0 else None
                if most_uses and most_uses > MOST_USES:
                    raise InvalidRequest(f"'max_uses' of a tool is more than {MOST_USES:,}.", param=asked.name())
                asked.server_tools.append(
                    ServerTool(name, str(kind), label, position, most_uses, name in self.never_left_out)
                )
            elif CLIENT_TOOLS.match(str(kind)):
                asked.input_tokens += CLIENT_TOOL_TOKENS
            else:
                asked.note_unknown(asked.name(f"type={str(kind)[:60]}"))


SERVER_TOOLS = {
    "web_search": "web_search",
    "web_fetch": "web_fetch",
    "code_execution": "code_execution",
    "code_interpreter": "code_execution",
    "tool_search": "tool_search",
    "file_search": "file_search",
    "image_generation": "image_generation",
    "advisor": "advisor",
    "mcp": "mcp",
    "google_search": "web_search",
    "googleSearch": "web_search",
    "browser_search": "web_search",
    "x_search": "web_search",
    "live_search": "web_search",
    "shell": "shell",
    "programmatic_tool_calling": "programmatic_tool_calling",
}
"""Tools that the upstream runs, by the beginning of their type (dates follow), and what a price row calls them."""

CLIENT_TOOLS = re.compile(r"(bash|text_editor|computer|memory|computer_toolset|browser_toolset)_[0-9]{8}")
"""Tools that the vendor describes and the client runs."""
CLIENT_TOOL_TOKENS = 3000
"""More than the vendor's description of any of them takes:
https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview#pricing
"""

PASSES = Passes()


def read_members(parsed: Mapping[str, Any], members: Mapping[str, Rule]) -> Asked:
    """Read a whole request by its format's table. Raises `UnsupportedParameter`, `InvalidRequest`."""
    asked = Asked()
    Fields(members).read(parsed, asked)
    return asked


def passing(*names: str) -> dict[str, Rule]:
    """Members that pass."""
    return dict.fromkeys(names, PASSES)


def refusing(why: str, *names: str) -> dict[str, Rule]:
    """Members that are refused for one reason."""
    return dict.fromkeys(names, Refused(why))


# --- What gateways and other vendors add to every format ---------------------------------------------------------

_STEERS = "It would choose another model, key or address than the one that this request is billed for."
_GATEWAY = "It steers the gateway in front of the model, which only the operator does."

GATEWAY_MEMBERS: dict[str, Rule] = {
    # LiteLLM: https://docs.litellm.ai/docs/completion/input
    **refusing(
        _STEERS,
        "fallbacks",
        "context_window_fallbacks",
        "content_policy_fallbacks",
        "context_window_fallback_dict",
        "model_list",
        "models",
        "route",
        "provider",
        "router",
        "api_base",
        "base_url",
        "api_key",
        "api_version",
        "api_type",
        "organization",
        "custom_llm_provider",
        "user_config",
        "configurable_clientside_auth_params",
        "deployment_id",
        "azure_ad_token",
        "vertex_credentials",
        "vertex_project",
        "vertex_location",
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "aws_region_name",
        "extra_body",
        "extra_headers",
        "extra_query",
        "allowed_openai_params",
        "drop_params",
        "additional_drop_params",
        "preset",
        "plugins",
        "transforms",
        "web_search_options",
    ),
    **refusing(
        _GATEWAY,
        "tags",
        "cache",
        "caching",
        "num_retries",
        "max_retries",
        "timeout",
        "stream_timeout",
        "force_timeout",
        "mock_response",
        "mock_tool_calls",
        "mock_delay",
        "mock_timeout",
        "mock_testing_fallbacks",
        "mock_testing_rate_limit_error",
        "litellm_metadata",
        "litellm_params",
        "litellm_call_id",
        "litellm_trace_id",
        "litellm_session_id",
        "litellm_logging_obj",
        "litellm_credential_name",
        "guardrails",
        "disable_global_guardrail",
        "policies",
        "prompt_id",
        "prompt_variables",
        "prompt_version",
        "no-log",
        "ttl",
        "input_cost_per_token",
        "output_cost_per_token",
        "input_cost_per_second",
        "base_model",
        "proxy_server_request",
        "secret_fields",
        "session_id",
        "trace",
        "enable_json_schema_validation",
        "model_info",
        "preset_cache_key",
        "ensure_alternating_roles",
        "hf_model_name",
        "text_completion",
        "cooldown_time",
        "rpm",
        "tpm",
        "weight",
        "region_name",
    ),
}
"""Members by which LiteLLM, OpenRouter and their like are steered: never forwarded, in any format."""
