"""The proxy's URLs below an upstream's prefix; on the upstream's own port they stand at the root.

Other ways to write these paths are read as these: `proxy/api/addresses.py:endpoint_path`.
"""

from django.urls import path, re_path

from proxy.api import views

urlpatterns = [
    path("v1/chat/completions", views.chat_completions),
    path("v1/responses", views.responses),
    re_path(r"^v1/(?:responses/.|conversations(?:/|\Z))", views.stored_responses),
    path("v1/completions", views.completions),
    path("v1/embeddings", views.embeddings),
    path("v1/messages", views.messages),
    path("v1/messages/count_tokens", views.count_tokens),
    path("v1/balance", views.balance_of),
    path("v1/usage", views.usage),
    path("v1/requests/<str:wanted_id>", views.request_receipt),
    path("v1/keys", views.keys_of),
    path("v1/keys/rotate", views.rotate),
    path("v1/keys/<str:wanted_id>", views.key_of),
    path("v1/keys/<str:wanted_id>/rotate", views.rotate),
    path("v1/models", views.list_models),
    path("v1/models/<path:name>", views.find_model),
    path("v1/model/info", views.model_info),
    path("health", views.health),
    path("", views.root),
    re_path(r"^(?s:.*)\Z", views.not_found),
]
