"""URLs below /api/payment/; the addresses that clients and SePay use today."""

from django.urls import path

from payments import api, views

urlpatterns = [
    path("webhook", views.webhook, {"provider_name": "sepay"}),
    path("webhook/<str:provider_name>", views.webhook),
    path("checkout", api.CheckoutView.as_view()),
]
