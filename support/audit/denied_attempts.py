"""Records what staff tried without the permission, whichever page refused it."""

from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from accounts.keys import mask_keys_in
from support.admin.display import key_of_address
from support.audit.actors import actor_of
from support.audit.things import MODELS_OF_KINDS, name_of_thing
from support.audit.trail import record_refusal

PAGES = ("admin", "support")


class DeniedAttemptsMiddleware:
    """Every form that was sent to the admin and every export that was asked for, when they are refused."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        match = request.resolver_match
        if not isinstance(exception, PermissionDenied) or match is None or match.namespace not in PAGES:
            return
        if request.method != "GET" or match.url_name == "export":
            action, target = _attempt(request, match)
            thing = _thing(match)
            actor = actor_of(request.user)
            target = mask_keys_in(target)[:200]  # In this order: not half a key.
            record_refusal(actor=actor, action=action[:60], target=target, error="No permission", thing=thing)


def _thing(match: Any) -> str | None:
    """What the attempt was about, if it was one thing that can have a history."""
    sent, model_admin = match.kwargs, getattr(match.func, "model_admin", None)
    if match.url_name == "dialog" and sent["kind"] in MODELS_OF_KINDS:
        return name_of_thing(MODELS_OF_KINDS[sent["kind"]], key_of_address(sent["key"]))
    if model_admin is not None and sent.get("object_id"):
        return name_of_thing(model_admin.opts.label_lower, unquote(sent["object_id"]))
    return None


def _attempt(request: HttpRequest, match: Any) -> tuple[str, str]:
    """What was tried on what, in the words of the entries of what is done. Nothing of what was sent but names."""
    sent, page = match.kwargs, match.url_name
    match page:
        case "dialog":
            return sent["slug"], key_of_address(sent["key"])
        case "bulk":
            return sent["slug"], ", ".join(request.POST.getlist("account"))
        case "export":
            return page, apps.get_model(sent["app"], sent["model"]).__name__
    model_admin = getattr(match.func, "model_admin", None)
    if model_admin is None:
        return page.replace("_", " "), ""
    verb = page.rpartition("_")[2].replace("changelist", "action in the list of")
    return f"{verb} {model_admin.opts.verbose_name}", unquote(sent.get("object_id", ""))
