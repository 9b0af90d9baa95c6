"""URLs below /api/payment/; the addresses that clients and SePay use today."""

from django.urls import path

from payments.api import views, webhooks

urlpatterns = [
    path("webhook", webhooks.webhook, {"provider_name": "sepay"}),
    path("webhook/<str:provider_name>", webhooks.webhook),
    path("checkout", views.CheckoutView.as_view()),
    path("history", views.HistoryView.as_view()),
    path("history-paginated", views.HistoryPageView.as_view()),
    path("user-stats", views.UserStatsView.as_view()),
    path("config", views.ConfigView.as_view()),
    path("<str:payment_id>/status", views.StatusView.as_view()),
]
