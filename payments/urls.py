"""URLs below /api/payment/; the addresses that clients and SePay use today."""

from django.urls import path

from payments import api, views

urlpatterns = [
    path("webhook", views.webhook, {"provider_name": "sepay"}),
    path("webhook/<str:provider_name>", views.webhook),
    path("checkout", api.CheckoutView.as_view()),
    path("history", api.HistoryView.as_view()),
    path("history-paginated", api.HistoryPageView.as_view()),
    path("user-stats", api.UserStatsView.as_view()),
    path("config", api.ConfigView.as_view()),
    path("<str:payment_id>/status", api.StatusView.as_view()),
]
