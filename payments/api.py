"""The customers' payment API: thin views over `orders`. Shapes are those that today's clients read."""

from collections.abc import Callable
from typing import cast

from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import find_account_by_key, read_key
from accounts.models import Account
from payments import checkout
from payments.http import handle_exception
from payments.models import Payment
from payments.shapes import order_json


class ApiKeyAuthentication(BaseAuthentication):
    """The account behind `Authorization: Bearer <key>` or `x-api-key: <key>`; its errors say what is wrong."""

    def authenticate(self, request: Request) -> tuple[Account, str]:
        key = read_key(request.headers.get("Authorization"), request.headers.get("x-api-key"))
        return find_account_by_key(key), "api-key"


class HasAccount(BasePermission):
    """Only for a request that an account's key came with."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.user, Account)


class PaymentView(APIView):
    """What all payment endpoints share."""

    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (HasAccount,)

    @property
    def account(self) -> Account:
        """Who asks; `HasAccount` has made sure of it."""
        return cast(Account, self.request.user)

    def get_exception_handler(self) -> Callable[..., Response | None]:
        return handle_exception


class CheckoutRequest(serializers.Serializer):
    """What to buy. Limits of `credits` are settings: `GET /api/payment/config` tells them."""

    credits = serializers.IntegerField(help_text="Whole USD of credits.")
    discordId = serializers.RegexField(r"^\d{17,19}$", required=False, allow_null=True, allow_blank=True)
    method = serializers.ChoiceField(
        [Payment.Method.SEPAY.value, Payment.Method.STRIPE.value], default=Payment.Method.SEPAY.value
    )


class CheckoutView(PaymentView):
    """Order credits."""

    def post(self, request: Request) -> Response:
        """Make an order and say how to pay it."""
        asked = CheckoutRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        order, instructions = checkout.start_checkout(
            account=self.account,
            credits=asked.validated_data["credits"],
            method=Payment.Method(asked.validated_data["method"]),
            discord_id=asked.validated_data.get("discordId") or None,
        )
        return Response(order_json(order) | instructions)
