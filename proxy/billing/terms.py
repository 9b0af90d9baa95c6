"""What a request may have at its model's price row: options, tools and attachments that have a price, or none.

Pure: from what the format's tables found (`Asked`) and the row (`Price`) to the terms that a request is held for and
billed by.
"""

from collections.abc import Collection
from dataclasses import dataclass

from django.conf import settings

from proxy.billing.pricing import Price, Terms
from proxy.errors import UnsupportedParameter
from proxy.formats.api_format import ANY_TOOL, Call
from proxy.formats.members import Asked, ServerTool


@dataclass(frozen=True)
class PricedCall:
    """A call at its price: what it is billed by, the bound of its input, and the tools that are left out of it.

    The bound is the bytes of the body over `BYTES_PER_TOKEN`, without those of images, which count by their pixels, and
    the bounds of what is not in the body. `attachment_tokens` are how many of it are likely not of text.
    """

    call: Call
    price: Price
    terms: Terms
    input_bound_tokens: int
    removed_tools: tuple[ServerTool, ...] = ()
    attachment_tokens: int = 0

    @property
    def headers(self) -> dict[str, str]:
        """`X-Removed-Tools` names the server tools that were left out of the request, by their types."""
        kinds = ", ".join(tool.kind for tool in self.removed_tools)
        return {"X-Removed-Tools": kinds[:1000].encode("ascii", "replace").decode()} if kinds else {}

    @property
    def most_output_tokens(self) -> int:
        """Of one choice: the client's limit or the model's, or the budget for thinking if that is more."""
        if not self.call.has_output:
            return 0
        return max(self.call.max_output_tokens or self.price.max_output_tokens, self.call.thinking_tokens)


def price_call(call: Call, price: Price, *, options: Collection[str] = ()) -> PricedCall:
    """The terms of a call; `options` are what its headers ask for.

    Raises `UnsupportedParameter` for what has no price in the row, naming it.
    """
    asked = call.asked
    _check_known(asked, price)
    multipliers = price.charged.multipliers
    for param, option in asked.options:
        if option not in multipliers:
            raise UnsupportedParameter(param, f"{option!r} has no price for {call.model!r}.")
    if asked.has_audio_input and not price.has_audio_input:
        raise UnsupportedParameter("input_audio", f"Sound has no price for {call.model!r}.")
    if asked.has_audio_output and not price.has_audio_output:
        raise UnsupportedParameter("modalities", f"Sound has no price for {call.model!r}.")
    kept = [tool for tool in asked.server_tools if tool.name in price.charged.fees]
    removed = tuple(tool for tool in asked.server_tools if tool.name not in price.charged.fees)
    for tool in removed:
        if tool.is_never_left_out:
            raise UnsupportedParameter(f"tools.type={tool.kind}", f"It has no price for {call.model!r}.")
    _check_demanded(call, removed)
    terms = Terms(
        options=(*(option for _, option in asked.options), *options),
        tool_uses=tuple((tool.name, tool.most_uses or price.charged.fees[tool.name].most_uses) for tool in kept),
        has_1h_cache=asked.has_1h_cache,
        has_audio_input=asked.has_audio_input,
        has_audio_output=asked.has_audio_output,
        has_image_output=price.has_image_output,
    )
    attached = _attachment_tokens(call, price)
    text = -(-max(call.text_bytes - asked.hidden_bytes, 0) // settings.BYTES_PER_TOKEN)
    return PricedCall(call, price, terms, text + attached, removed, attached - asked.unlikely_tokens)


def _check_known(asked: Asked, price: Price) -> None:
    """A member that no table knows is forwarded only where the operator lists it."""
    for name in asked.unknown:
        if name not in settings.PASSED_MEMBERS and name not in price.passed_members:
            raise UnsupportedParameter(name, "It is not known here, so it is not known what it would cost.")


def _check_demanded(call: Call, removed: tuple[ServerTool, ...]) -> None:
    """A tool that is left out must not be one that the model has to use."""
    if call.demanded_tool is None or not removed:
        return
    is_named = any(call.demanded_tool in (tool.name, tool.kind, tool.label) for tool in removed)
    if is_named or (call.demanded_tool == ANY_TOOL and len(removed) == call.asked.tools):
        names = ", ".join(tool.kind for tool in removed)
        raise UnsupportedParameter("tool_choice", f"It demands a tool that has no price for {call.model!r}: {names}.")


def _attachment_tokens(call: Call, price: Price) -> int:
    """The most input tokens of what counts by a bound of its own and not by its bytes.

    Raises `UnsupportedParameter` for an attachment that the row has no bound for.
    """
    asked, bounds = call.asked, price.attachment_tokens
    tokens = asked.input_tokens
    if "image" in bounds:  # This model's vendor does not count by pixels.
        tokens += asked.images * bounds["image"] - asked.image_tokens
    for param, kind in asked.attachments:
        if kind not in bounds:
            why = f"What it adds to the input is not known for {call.model!r}: send it inline."
            raise UnsupportedParameter(param, why)
        tokens += bounds[kind]
    return tokens
