"""The customers' payment API: thin views. `serializers.py` makes the answers, in the shapes that clients read."""

from collections.abc import Callable
from typing import Any, cast

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import extend_schema
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import throttle
from accounts.authentication import read_keys
from accounts.errors import BillingError
from accounts.models import Account
from border.digits import read_whole_number
from payments import orders
from payments.api import serializers
from payments.api.errors import handle_exception
from payments.api.parsers import MAX_BODY_BYTES
from payments.errors import BodyTooLarge
from payments.orders import checkout, history


class ApiKeyAuthentication(BaseAuthentication):
    """The account behind `Authorization: Bearer <key>` or `x-api-key: <key>`; its errors say what is wrong."""

    def authenticate(self, request: Request) -> tuple[Account, str]:
        headers, address = request.headers, str(request.META.get("REMOTE_ADDR") or "")
        keys = read_keys(headers.get("Authorization"), headers.get("x-api-key"), headers.get("api-key"))
        key = throttle.choose_key(keys, address)
        throttle.admit(key, address)
        try:
            return throttle.find_free_caller(key), "api-key"
        except BillingError as error:
            throttle.note_refused(key, address, error)
            raise


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI document names the key."""

    target_class = ApiKeyAuthentication
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An account's API key, `sk-trollllm-…`."}


class HasAccount(BasePermission):
    """Only for a request that an account's key came with."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.user, Account)


def _answers(success: Any, *refusals: int) -> dict[int, Any]:
    """The documented answers of an endpoint: its success, its refusals, and those of every endpoint with a key."""
    return _public_answers(success, 401, 403, 429, *refusals)


def _public_answers(success: Any, *refusals: int) -> dict[int, Any]:
    """The same for an endpoint without a key."""
    return {200: success, **dict.fromkeys(sorted((*refusals, 413, 500, 503)), serializers.ErrorResponse)}


class PaymentView(APIView):
    """What all payment endpoints share."""

    authentication_classes: Any = (ApiKeyAuthentication,)
    permission_classes: Any = (HasAccount,)

    @property
    def account(self) -> Account:
        """Who asks; `HasAccount` has made sure of it."""
        return cast(Account, self.request.user)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        # Whatever would read it: a parser is asked for its media type alone.
        length = read_whole_number(str(request.META.get("CONTENT_LENGTH") or "0"))
        if length is None or length > MAX_BODY_BYTES:
            raise BodyTooLarge(MAX_BODY_BYTES)
        super().initial(request, *args, **kwargs)

    def get_exception_handler(self) -> Callable[..., Response | None]:
        return handle_exception


class CheckoutView(PaymentView):
    @extend_schema(
        operation_id="checkout",
        summary="Order credits",
        request=serializers.CheckoutRequest,
        responses=_answers(serializers.CheckoutResponse, 400, 415, 502),
    )
    def post(self, request: Request) -> Response:
        """Make an order and say how to pay it. While purchasing is off: 503 with the notice for customers."""
        asked = serializers.CheckoutRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        started = checkout.start_checkout(
            account=self.account,
            credits=asked.validated_data["credits"],
            method=asked.validated_data["method"],
            discord_id=asked.validated_data.get("discordId") or None,
        )
        return Response(serializers.CheckoutResponse(started).data)


class StatusView(PaymentView):
    @extend_schema(
        operation_id="payment_status",
        summary="How far an order is",
        responses=_answers(serializers.StatusResponse, 404),
    )
    def get(self, request: Request, payment_id: str) -> Response:
        """Poll this while the customer pays. 404 also for somebody else's payment."""
        payment = orders.find_payment_of(username=self.account.username, payment_id=payment_id)
        return Response(serializers.StatusResponse(payment, context={"now": timezone.now()}).data)


class HistoryView(PaymentView):
    @extend_schema(
        operation_id="history",
        summary="The latest 20 payments",
        responses=_answers(serializers.HistoryResponse),
    )
    def get(self, request: Request) -> Response:
        """The newest payments and orders, newest first."""
        latest = history.latest_payments(username=self.account.username)
        return Response(serializers.HistoryResponse({"payments": latest}, context={"now": timezone.now()}).data)


class HistoryPageView(PaymentView):
    @extend_schema(
        operation_id="history_paginated",
        summary="All payments, page by page",
        parameters=[serializers.HistoryQuery],
        responses=_answers(serializers.HistoryPageResponse),
    )
    def get(self, request: Request) -> Response:
        """Payments and orders, newest first, by status and time of order. What cannot be read is ignored."""
        query = serializers.HistoryQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked, now = query.validated_data, timezone.now()
        page = history.read_page(
            username=self.account.username,
            page=asked["page"],
            size=asked["limit"],
            now=now,
            status=asked.get("status"),
            since=asked.get("from"),
            until=asked.get("to"),
        )
        return Response(serializers.HistoryPageResponse(page, context={"now": now}).data)


class UserStatsView(PaymentView):
    @extend_schema(
        operation_id="user_stats",
        summary="What this account has bought",
        responses=_answers(serializers.UserStatsResponse),
    )
    def get(self, request: Request) -> Response:
        """Sums over all payments of the account."""
        totals = history.read_totals(username=self.account.username, now=timezone.now())
        return Response(serializers.UserStatsResponse(totals).data)


class ConfigView(PaymentView):
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        operation_id="config",
        summary="Limits, rate and promotion",
        auth=[],
        responses=_public_answers(serializers.ConfigResponse),
    )
    def get(self, request: Request) -> Response:
        """What a client needs to know before a purchase. Public."""
        return Response(serializers.ConfigResponse(_OFFER.read()).data)


_OFFER = throttle.Shared(lambda: checkout.read_offer(at=timezone.now()), limit=throttle.PUBLIC_READS)
