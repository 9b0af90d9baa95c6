"""The proxy's URLs below an upstream's prefix; on the upstream's own port they stand at the root."""

from django.urls import path, re_path

from proxy import api

urlpatterns = [
    path("v1/chat/completions", api.chat_completions),
    path("v1/messages", api.messages),
    path("v1/messages/count_tokens", api.count_tokens),
    path("v1/balance", api.balance_of),
    path("v1/usage", api.usage),
    path("v1/requests/<str:wanted_id>", api.request_receipt),
    path("v1/keys/rotate", api.rotate),
    path("v1/models", api.list_models),
    path("health", api.health),
    re_path(r"^(?P<path>(?s:.*))\Z", api.not_found),
]
