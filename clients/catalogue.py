"""Which clients run, how, and what the upstream must have seen of each."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clients.packages import NODE, SOURCES, python_of

MODEL = "claude-haiku-4-5-20251001"
TURNS = 20
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
COMPLETIONS, EMBEDDINGS = "/v1/completions", "/v1/embeddings"


@dataclass(frozen=True)
class Client:
    """A client and its dialogue.

    `dialogues` says for each path how many dialogues of TURNS tool calls end there; 0 for a path that is only used.
    `package` names the package whose version is told, `requirements` where pip installs it; without, npm does.
    One with a `sentence` is to fail, and its user to read that.
    """

    name: str
    package: str
    balance: str
    program: str
    dialogues: Mapping[str, int]
    requirements: str | None = None
    call: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    model: str = MODEL
    sentence: str | None = None

    @property
    def account(self) -> str:
        return self.name.lower().translate(str.maketrans(" /", "--", ",()'"))

    @property
    def prompt(self) -> str:
        """What is asked: the fake upstream calls tools, and counts cached tokens, which have prices of their own."""
        call = f" call={self.call}" if self.call else ""
        return f"[[fake tools={TURNS}{call} cached_tokens=7 cache_creation_tokens=5]] Use the tool again and again."

    def command(self, base_url: str, home: Path) -> list[str]:
        """What is started in the directory `home`, which also has what the client keeps."""
        if self.program == "codex":
            return _codex(self, base_url, home)
        if self.program == "claude":
            tools = ["--allowedTools", *(self.call or "").split(",")]
            return [str(NODE / "node_modules/.bin/claude"), "--print", self.prompt, "--output-format", "json", *tools]
        if self.requirements is not None:
            return [str(python_of(self.requirements)), str(SOURCES / "python" / self.program)]
        name, *arguments = self.program.split()
        return ["node", str(NODE / name), *arguments]


def _codex(client: Client, base_url: str, home: Path) -> list[str]:
    """Codex reads the place of a model provider from its configuration alone."""
    provider = {"name": "billing", "base_url": f"{base_url}/v1", "env_key": "OPENAI_API_KEY", "wire_api": "responses"}
    lines = [f"model = {json.dumps(client.model)}", 'model_provider = "billing"', "[model_providers.billing]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in provider.items()]
    (home / "config.toml").write_text("\n".join(lines) + "\n")
    options = ["--skip-git-repo-check", "--sandbox", "danger-full-access", "--json"]
    return [str(NODE / "node_modules/.bin/codex"), "exec", *options, client.prompt]


_QUIET_CLAUDE = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
}
_KINDS = ("MODEL", "DEFAULT_OPUS_MODEL", "DEFAULT_SONNET_MODEL", "DEFAULT_HAIKU_MODEL")
_CLAUDE_MODELS = {f"ANTHROPIC_{kind}": MODEL for kind in _KINDS}
_PIP = "requirements.txt"

CLIENTS = (
    Client("OpenAI SDK, Node", "openai", "openhands", "openai_sdk.mjs", {CHAT: 1, RESPONSES: 1, EMBEDDINGS: 0}),
    Client("Anthropic SDK, Node", "@anthropic-ai/sdk", "ohmygpt", "anthropic_sdk.mjs", {MESSAGES: 1}),
    Client("AI SDK, OpenAI", "ai", "openhands", "ai_sdk.mjs openai", {RESPONSES: 2}),
    Client("AI SDK, Anthropic", "ai", "ohmygpt", "ai_sdk.mjs anthropic", {MESSAGES: 2}),
    Client("Codex CLI", "@openai/codex", "openhands", "codex", {RESPONSES: 1}, call="exec_command"),
    Client(
        "Claude Code",
        "@anthropic-ai/claude-code",
        "ohmygpt",
        "claude",
        {MESSAGES: 1},
        call="Bash,Read",
        environment=_QUIET_CLAUDE | _CLAUDE_MODELS,
    ),
    Client(
        "Claude Code, default model",
        "@anthropic-ai/claude-code",
        "ohmygpt",
        "claude",
        {},
        call="Bash",
        environment=_QUIET_CLAUDE,
        sentence="Run --model to pick a different model",
    ),
    Client(
        "OpenAI SDK, Python",
        "openai",
        "openhands",
        "openai_sdk.py",
        {CHAT: 1, RESPONSES: 1, COMPLETIONS: 0, EMBEDDINGS: 0},
        _PIP,
    ),
    Client("Anthropic SDK, Python", "anthropic", "ohmygpt", "anthropic_sdk.py", {MESSAGES: 1}, _PIP),
    Client("OpenAI Agents SDK", "openai-agents", "openhands", "agents_sdk.py", {RESPONSES: 2}, _PIP),
    Client("pydantic-ai, openai:", "pydantic-ai-slim", "openhands", "pydantic_ai_openai.py", {RESPONSES: 2}, _PIP),
    Client(
        "LangChain, ChatOpenAI",
        "langchain-openai",
        "openhands",
        "langchain_openai_chat.py",
        {CHAT: 1, EMBEDDINGS: 0},
        _PIP,
    ),
    Client("LiteLLM SDK, three names", "litellm", "ohmygpt", "litellm_sdk.py", {CHAT: 1, MESSAGES: 0}, _PIP),
    Client(
        "LlamaIndex, OpenAILike",
        "llama-index-llms-openai-like",
        "openhands",
        "llamaindex_openai_like.py",
        {CHAT: 1, COMPLETIONS: 0},
        "llamaindex.txt",
    ),
)
