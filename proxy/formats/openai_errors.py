"""Errors as OpenAI writes them, the same for each of its formats."""

from proxy.formats.json_body import JsonObject

_ERROR_TYPES = {
    401: "authentication_error",
    402: "insufficient_credits",
    403: "permission_error",
    429: "rate_limit_error",
}


def openai_error_body(*, status: int, code: str, message: str, details: JsonObject) -> JsonObject:
    """The body of an error; `param` of the details stands where OpenAI has it, the rest behind."""
    default = "invalid_request_error" if status < 500 else "server_error"
    others = {name: value for name, value in details.items() if name != "param"}
    kind = _ERROR_TYPES.get(status, default)
    return {"error": {"message": message, "type": kind, "param": details.get("param"), "code": code, **others}}
