"""Settings, all from the environment; `docs/configuration.md` lists the variables.

Secrets have no default. `make run` makes its own under `var/`; production sets them.
"""

from collections.abc import Sequence
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse_lazy

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent


def _list(name: str, default: Sequence[str] = ()) -> list[str]:
    """A list from the environment, divided by commas. Spaces around an item, and items without text, do not count."""
    return [item.strip() for item in env.list(name, default=default) if item.strip()]


# --- Where this runs ---------------------------------------------------------------------------------------------

ENVIRONMENT = env.str("ENVIRONMENT", default="production")
"""`production`, `development` or `test`: a label, and the strictness of the deployment checks."""

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY")
SECRET_KEY_FALLBACKS = _list("SECRET_KEY_FALLBACKS")
"""Earlier keys that still count, while `SECRET_KEY` is replaced: for sessions, and for secrets until their next use."""
ALLOWED_HOSTS = _list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = _list("CSRF_TRUSTED_ORIGINS")

SERVE = env.str("SERVE", default="all")
"""What this process serves: the `site` (admin, webhooks, payments), the `api` (both upstreams' ports), or `all`."""
GUNICORN_THREADS = env.int("GUNICORN_THREADS", default=500)
"""Threads of a process; a running request takes one. `billing_site/gunicorn.conf.py` reads it too."""
SITE_PORT = env.int("SITE_PORT", default=8000)
"""The port of the site and the admin; the two below speak only the proxy API of their upstream."""
OPENHANDS_PORT = env.int("OPENHANDS_PORT", default=8004)
OHMYGPT_PORT = env.int("OHMYGPT_PORT", default=8005)
PUBLIC_URLS = {
    "openhands": env.str("OPENHANDS_PUBLIC_URL", default=""),
    "ohmygpt": env.str("OHMYGPT_PUBLIC_URL", default=""),
}
"""The address of each upstream's API that customers are told, with or without `/v1`. Empty = that of their request."""

# --- Applications ------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "billing_site.apps.BillingSiteConfig",
    "unfold.apps.BasicAppConfig",  # Without its site: ours is named by the admin's app config.
    "unfold.contrib.filters",
    "mongo.apps.MongoConfig",
    "billing_site.apps.StaffAdminConfig",
    "mongo.contrib.apps.MongoAuthConfig",
    "mongo.contrib.apps.MongoContentTypesConfig",
    "mongo.contrib.apps.MongoSessionsConfig",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "accounts",
    "payments",
    "proxy",
    "books",
    "support",
]
if ENVIRONMENT != "production":
    INSTALLED_APPS.append("development")

MIDDLEWARE = [
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "billing_site.security.ContentSecurityPolicyMiddleware",
    "billing_site.security.BodySizeMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "support.access.known_devices.KnownDeviceMiddleware",
    "support.access.whole_page.WholePageMiddleware",
    "support.access.second_factor.SecondFactorMiddleware",
    "support.audit.denied_attempts.DeniedAttemptsMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
"""The site's middleware. Proxy requests bypass all of it: see `billing_site/wsgi.py`."""

ROOT_URLCONF = "billing_site.urls"
CSRF_FAILURE_VIEW = "billing_site.error_pages.csrf_failure"
WSGI_APPLICATION = "billing_site.wsgi.application"
APPEND_SLASH = False  # An API client's POST must never be answered by a redirect.

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# --- Database ----------------------------------------------------------------------------------------------------

DATABASE_URL = env.str("DATABASE_URL")
"""`mongodb://…` (one or several hosts) or `mongodb+srv://…`; a replica set or a sharded cluster, 6.0 or newer."""

DATABASES = {
    "default": {
        "ENGINE": "mongo.backend",
        "HOST": DATABASE_URL,
        "NAME": env.str("DATABASE_NAME", default=urlsplit(DATABASE_URL).path.lstrip("/") or "billing"),
        "OPTIONS": {
            "appname": "billing",
            # An acknowledged write has survived the loss of a node, and of this process.
            "w": "majority",
            "retryWrites": True,
            # An adopted document may hold a time that Python cannot, or text that is no UTF-8: they are read as what
            # stands for them, instead of failing for all documents that are read with them.
            "datetime_conversion": "DATETIME_AUTO",
            "unicode_decode_error_handler": "replace",
            "serverSelectionTimeoutMS": env.int("DATABASE_TIMEOUT_MS", default=5000),
            "connectTimeoutMS": 5000,
            "socketTimeoutMS": 30000,
            # A request that finds every connection in use for so long is refused; it would wait for ever.
            "waitQueueTimeoutMS": 10000,
            "maxPoolSize": env.int("DATABASE_POOL_SIZE", default=100),
        },
    }
}
DIRECT_WRITES = env.bool("DIRECT_WRITES", default=True)
"""Whether holds, records and settlements go straight onto a connection of the driver, past most of its code. Off, or
with another version of the driver than that was tried with, they go through the driver's own calls, at more CPU."""


class _NoLibrary:
    """As the path of a library: there is none, and none need be looked for."""

    def __bool__(self) -> bool:
        raise ImproperlyConfigured("Nothing here is geographic.")


GDAL_LIBRARY_PATH = _NoLibrary()
"""Three of the back end's parts import Django's geographic ones. Without a path these look for a library by a dozen
runs of `ldconfig` and of a compiler, a third of the time in which a process starts; this error tells them of none."""

DEFAULT_AUTO_FIELD = "django_mongodb_backend.fields.ObjectIdAutoField"
MIGRATION_MODULES = {app: f"mongo.contrib.{app}" for app in ("admin", "auth", "contenttypes", "sessions")}

# --- Time, language, static files --------------------------------------------------------------------------------

LANGUAGE_CODE = "en-us"
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
USE_TZ = True
USE_I18N = False

STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True  # Serves the packages' own static files: nothing to collect before a start.

# --- Security ----------------------------------------------------------------------------------------------------

AUTHENTICATION_BACKENDS = ["support.access.permissions.RoleBackend"]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 8 * 3600
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
HAS_TLS = env.bool("HAS_TLS", default=ENVIRONMENT == "production")
"""Whether browsers reach the site over HTTPS; off only where it is served on loopback without a TLS proxy."""
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HAS_TLS
HSTS_SECONDS = SECURE_HSTS_SECONDS = env.int("HSTS_SECONDS", default=0)
"""How long a browser that was here comes by HTTPS alone, on every port of this host name. It cannot be taken back:
begin with an hour, end with a year (31536000). 0 = browsers are told nothing."""
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("TRUST_FORWARDED_PROTO", False) else None
TRUSTED_PROXIES = [ip_network(text) for text in _list("TRUSTED_PROXIES")]
"""Addresses or networks of the proxies in front, whose `X-Forwarded-For` says where a request came from."""
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# --- Credits -----------------------------------------------------------------------------------------------------

CREDIT_VALIDITY_DAYS = env.int("CREDIT_VALIDITY_DAYS", default=7)
"""Days that both balances live after the latest purchase."""

# --- Proxy -------------------------------------------------------------------------------------------------------

UPSTREAMS = {
    "openhands": {
        "base_url": env.str("OPENHANDS_BASE_URL", default=""),
        "api_key": env.str("OPENHANDS_API_KEY", default=""),
    },
    "ohmygpt": {
        "base_url": env.str("OHMYGPT_BASE_URL", default=""),
        "api_key": env.str("OHMYGPT_API_KEY", default=""),
    },
}
"""Where requests go; `base_url` with or without a trailing `/v1`. Empty = that upstream answers 502."""
MISSING_ENDPOINTS = {
    "openhands": frozenset(_list("OPENHANDS_MISSING_ENDPOINTS")),
    "ohmygpt": frozenset(_list("OHMYGPT_MISSING_ENDPOINTS")),
}
"""What an upstream does not have, of `OPTIONAL_ENDPOINTS`: requests for it are answered 404 with a sentence."""
OPTIONAL_ENDPOINTS = frozenset(("responses", "completions", "embeddings"))

UPSTREAM_CONNECT_TIMEOUT_SECONDS = env.float("UPSTREAM_CONNECT_TIMEOUT_SECONDS", default=5.0)
UPSTREAM_READ_TIMEOUT_SECONDS = env.float("UPSTREAM_READ_TIMEOUT_SECONDS", default=300.0)
"""Seconds without a byte from the upstream before a request is given up."""
REQUEST_MAX_SECONDS = env.float("REQUEST_MAX_SECONDS", default=900.0)
"""After these a running answer is broken off."""
CLIENT_HEADER_SECONDS = env.float("CLIENT_HEADER_SECONDS", default=15.0)
"""The header of a request has to be there so long after the connection, or after its first byte on a used one."""
CLIENT_BODY_SECONDS = env.float("CLIENT_BODY_SECONDS", default=300.0)
"""And its body, at most."""
CLIENT_TIMEOUT_SECONDS = env.float("CLIENT_TIMEOUT_SECONDS", default=30.0)
"""A client that neither sends what it announced nor takes what it asked for, for so long, is gone; waiting for the
upstream does not count."""
CLIENT_BYTES_PER_SECOND = max(1.0, env.float("CLIENT_BYTES_PER_SECOND", default=1000.0))
"""So is one that is slower than this for so long that it is the timeout above behind."""
THREAD_WAIT_SECONDS = env.float("THREAD_WAIT_SECONDS", default=0.5)
"""A request waits for a free thread so long, and is then refused with 503."""
RECORD_PATIENCE_SECONDS = env.float("RECORD_PATIENCE_SECONDS", default=30.0)
"""How long the end of a request is tried to be recorded while its client waits for the answer."""
SENT_RECORD_PATIENCE_SECONDS = 4 * RECORD_PATIENCE_SECONDS
"""The same where the client has had its answer: nobody waits."""
LONGEST_REQUEST_SECONDS = (
    REQUEST_MAX_SECONDS
    + UPSTREAM_READ_TIMEOUT_SECONDS
    + CLIENT_TIMEOUT_SECONDS
    + 64 * 1024 / CLIENT_BYTES_PER_SECOND
    + SENT_RECORD_PATIENCE_SECONDS
)
"""The longest that a request can be at work: the limit above, a last wait for the upstream, a last write of 64 KiB, and
its record."""
HOLD_MAX_AGE_SECONDS = env.float("HOLD_MAX_AGE_SECONDS", default=LONGEST_REQUEST_SECONDS + 60)
"""The sweeper takes holds older than this for abandoned; it must be more than the line above."""
PROCESS_SILENT_SECONDS = env.float("PROCESS_SILENT_SECONDS", default=60.0)
"""A process that has not been heard of for so long is dead, and the sweeper closes what it held. It beats twelve times
in it."""
UPSTREAM_POOL_SIZE = env.int("UPSTREAM_POOL_SIZE", default=200)
"""Connections kept open to each upstream, per process."""

MAX_REQUEST_BYTES = env.int("MAX_REQUEST_BYTES", default=32 * 1024 * 1024)
BODIES_IN_FLIGHT_BYTES = env.int("BODIES_IN_FLIGHT_BYTES", default=256 * 1024 * 1024)
"""Bytes of bodies above 64 kB that a process keeps at once, until they have been sent on; one key gets half of it. More
are refused with 503 `busy`. Beside it a process needs room to parse them (`proxy/api/request_body.py`)."""
BYTES_PER_TOKEN = env.int("BYTES_PER_TOKEN", default=2)
"""Bytes of a request that count as one input token in a hold; 1 makes the bound a proof."""
FILE_TOKENS = env.int("FILE_TOKENS", default=100_000)
"""Input tokens held for a file in the body, such as a PDF, beside its bytes."""
PASSED_MEMBERS = frozenset(_list("PASSED_MEMBERS"))
"""Members of requests that no table knows and that are forwarded all the same, such as `my_option,messages.hint`."""
DEFAULT_MAX_OUTPUT_TOKENS = env.int("DEFAULT_MAX_OUTPUT_TOKENS", default=8192)
"""Output bound of a model whose price row names none."""
MIN_USEFUL_OUTPUT_TOKENS = env.int("MIN_USEFUL_OUTPUT_TOKENS", default=256)
"""A request without `max_tokens` is refused when the balance affords fewer output tokens than this."""
LOWER_MAX_TOKENS = env.bool("LOWER_MAX_TOKENS", default=True)
"""Whether `max_tokens` of an Anthropic request, where it is required, is lowered to what the balance affords."""
UNCOLLECTED_LIMIT_USD = Decimal(env.str("UNCOLLECTED_LIMIT_USD", default="1.00"))
"""An account whose requests cost more than this beyond their holds in a day (UTC) is refused until staff clear it."""
UNBILLED_TIMEOUTS_LIMIT = env.int("UNBILLED_TIMEOUTS_LIMIT", default=50)
"""The same for answers of a day that timed out at the upstream, unbilled."""
REQUESTS_PER_MINUTE = env.int("REQUESTS_PER_MINUTE", default=600)
CONCURRENT_REQUESTS = env.int("CONCURRENT_REQUESTS", default=100)
"""Limits of an API key; an account can have its own."""
MAX_KEYS = env.int("MAX_KEYS", default=20)
"""How many API keys an account may have beside its first one; they stand in its document."""
FREE_REQUESTS_PER_MINUTE = env.int("FREE_REQUESTS_PER_MINUTE", default=300)
"""What a key may ask that is not billed, of each process; also an address without a key. 0 = no limit, as below."""
REFUSALS_PER_MINUTE = env.int("REFUSALS_PER_MINUTE", default=60)
"""Refused requests of a key for which each process asks the database; an accepted one takes one off."""
REFUSALS_KEPT_DAYS = env.int("REFUSALS_KEPT_DAYS", default=30)
"""How long it is kept why a request was refused. MongoDB drops each record by itself."""
REFUSALS_KEPT_PER_MINUTE = env.int("REFUSALS_KEPT_PER_MINUTE", default=10)
REFUSALS_KEPT_PER_DAY = env.int("REFUSALS_KEPT_PER_DAY", default=500)
"""How many refusals of an account are kept, by all processes together; the rest are only counted. 0 = none are kept."""
UNKNOWN_KEYS_PER_MINUTE = env.int("UNKNOWN_KEYS_PER_MINUTE", default=600)
"""Keys of no account, from one address, for which each process asks the database."""
PUBLIC_READS_PER_MINUTE = env.int("PUBLIC_READS_PER_MINUTE", default=600)
"""How often each process reads anew what anybody may read; between them it answers what it read last."""
KEY_ROTATIONS_PER_MINUTE = env.int("KEY_ROTATIONS_PER_MINUTE", default=10)
STATEMENTS_PER_MINUTE = env.int("STATEMENTS_PER_MINUTE", default=30)
"""How often an account may ask each process for `/v1/usage`; each second that the database works counts as five."""
STATEMENT_MAX_SECONDS = env.float("STATEMENT_MAX_SECONDS", default=5.0)
"""The database gives up adding up such a statement after this; the answer asks for a shorter period."""
CORS_ORIGINS = frozenset(_list("CORS_ORIGINS"))
"""Origins whose pages may call the APIs in a browser, such as `https://chat.example.com`; `*` = any. Off by default."""
PURCHASE_URL = env.str("PURCHASE_URL", default="")
"""Where customers buy credits: named in the refusals that a purchase would mend."""
SUPPORT_CONTACT = env.str("SUPPORT_CONTACT", default="")
"""Whom customers ask, such as an address: named in the refusals that only the operator can mend."""
PRICE_CACHE_SECONDS = env.float("PRICE_CACHE_SECONDS", default=5.0)

# --- Payments ----------------------------------------------------------------------------------------------------

PAYMENT_PROVIDERS = _list(
    "PAYMENT_PROVIDERS",
    [
        "payments.providers.sepay.SePay",
        "payments.providers.stripe.Stripe",
        "payments.providers.standard.StandardWebhooks",
    ],
)
"""The providers' classes; docs/payments.md shows how to add one."""

SEPAY_API_KEYS = _list("SEPAY_API_KEYS")
"""Keys that a SePay webhook may present (two while one is replaced)."""
SEPAY_WEBHOOK_SECRETS = _list("SEPAY_WEBHOOK_SECRETS")
"""Secrets that a SePay webhook may be signed with. Neither a key nor a secret = the endpoint answers 503."""
SEPAY_ACCOUNT_NUMBER = env.str("SEPAY_ACCOUNT_NUMBER", default="")
"""The account that customers pay to; money reported for another one waits for review."""
SEPAY_BANK = env.str("SEPAY_BANK", default="")
"""The bank's short name as SePay spells it, such as `Vietcombank`, or its six-digit BIN."""
SEPAY_ACCOUNT_NAME = env.str("SEPAY_ACCOUNT_NAME", default="")
"""The holder of the account, as banking apps show it to the payer."""
SEPAY_API_TOKEN = env.str("SEPAY_API_TOKEN", default="")
"""Token of SePay's API, which the pull asks for transfers whose webhook never came; empty = no pull."""
SEPAY_API_URL = env.str("SEPAY_API_URL", default="https://userapi.sepay.vn/v2")

ORDER_CODE_PREFIX = env.str("ORDER_CODE_PREFIX", default="NAP")
"""Three letters that every new order code begins with."""
ORDER_MIN_CREDITS = env.int("ORDER_MIN_CREDITS", default=20)
ORDER_MAX_CREDITS = env.int("ORDER_MAX_CREDITS", default=100)
ORDER_VND_PER_USD = env.int("ORDER_VND_PER_USD", default=2500)
EXPIRY_RENEWAL_MIN_PERCENT = env.int("EXPIRY_RENEWAL_MIN_PERCENT", default=100)
"""A payment restarts the expiry from so many percent of its order, or of ORDER_MIN_CREDITS; 0 = any payment does."""
OPEN_ORDERS_LIMIT = env.int("OPEN_ORDERS_LIMIT", default=5)
"""Orders that an account may have at a time that are neither paid nor over; 0 = no limit."""
ORDER_LIFETIME_MINUTES = env.int("ORDER_LIFETIME_MINUTES", default=15)
LATE_PAYMENT_GRACE_HOURS = env.int("LATE_PAYMENT_GRACE_HOURS", default=24)
"""Money for an expired order is credited this long after the expiry; later it waits for review."""

STRIPE_SECRET_KEY = env.str("STRIPE_SECRET_KEY", default="")
"""Key of Stripe's API: payment pages and the pull; empty = neither."""
STRIPE_API_URL = env.str("STRIPE_API_URL", default="https://api.stripe.com")
CHECKOUT_RETURN_URL = env.str("CHECKOUT_RETURN_URL", default="")
"""Where Stripe sends the customer after the payment page; empty = no payment by Stripe."""
STRIPE_WEBHOOK_SECRETS = _list("STRIPE_WEBHOOK_SECRETS")
"""Signing secrets (`whsec_…`) of the Stripe endpoint (two while one is rolled); none = the endpoint answers 503."""
STRIPE_LIVE_MODE = env.bool("STRIPE_LIVE_MODE", default=ENVIRONMENT == "production")
"""Whether live events are credited; the other mode's events wait for review."""
STRIPE_CURRENCY = env.str("STRIPE_CURRENCY", default="usd")
STRIPE_UNITS_PER_USD = env.str("STRIPE_UNITS_PER_USD", default="1")
"""Price of one USD of credits paid by Stripe, in units of STRIPE_CURRENCY."""

STANDARD_WEBHOOK_SECRETS = _list("STANDARD_WEBHOOK_SECRETS")
"""Secrets (`whsec_` and base64) of another shop; none = the endpoint answers 503."""
STANDARD_ACCEPTS_TESTS = env.bool("STANDARD_ACCEPTS_TESTS", default=ENVIRONMENT != "production")
"""Whether payments marked as tests are credited; otherwise they wait for review."""

PULL_WINDOW_HOURS = env.int("PULL_WINDOW_HOURS", default=24)
"""How far back each pull asks the providers for what webhooks missed; windows overlap on purpose."""
PULL_INTERVAL_MINUTES = env.int("PULL_INTERVAL_MINUTES", default=10)

WEBHOOK_SILENCE_MINUTES = env.int("WEBHOOK_SILENCE_MINUTES", default=60)
"""The dashboard warns when no webhook has come for so long while the pull finds payments."""

HAS_PURCHASING = env.bool("HAS_PURCHASING", default=True)
"""Off: checkout answers 503 with the maintenance text, whatever staff switched; webhooks still work."""
MAINTENANCE_TEXT = env.str(
    "MAINTENANCE_TEXT", default="Purchasing is paused for maintenance. Your credits and open payments are safe."
)

# --- Admin -------------------------------------------------------------------------------------------------------

STAFF_SECOND_FACTOR_REQUIRED = env.bool("STAFF_SECOND_FACTOR_REQUIRED", default=False)
"""Whether staff must set up an authenticator app before they see anything; who has set one up needs it always."""

STAFF_AMOUNT_LIMITS = {role: Decimal(limit) for role, limit in env.dict("STAFF_AMOUNT_LIMITS", default={}).items()}
"""The most that a role may move at once, in USD: `Support=50,Billing admin=1000`. Empty = no limit."""

DATE_ORDER = env.str("DATE_ORDER", default="dmy")
"""How staff may type dates beside `2026-11-27`: `dmy` also reads `27/11/2026`, `iso` nothing else."""
DECIMAL_COMMA = env.bool("DECIMAL_COMMA", default=False)
"""Whether a comma in a number that staff type divides it from its fraction (`1,5`). Off, a comma is refused."""

UNFOLD = {
    "SITE_TITLE": "LLM credits",
    "SITE_HEADER": "LLM credits",
    "SITE_SUBHEADER": "Support and billing",
    "SITE_SYMBOL": "account_balance_wallet",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "support.pages.navigation.favicon"}],
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": True,
    "ENVIRONMENT": "support.pages.navigation.environment",
    "STYLES": ["support.pages.navigation.stylesheet"],
    "SCRIPTS": ["support.pages.navigation.script"],
    "ACCOUNT": {
        "navigation": [
            {"title": "Change password", "icon": "password", "link": reverse_lazy("admin:password_change")},
            {"title": "Second factor", "icon": "phonelink_lock", "link": reverse_lazy("support:second_factor")},
            {"title": "Backup codes", "icon": "pin", "link": reverse_lazy("support:backup_codes")},
        ]
    },
    "LOGIN": {"form": "support.access.login.LoginForm"},
    "DASHBOARD_CALLBACK": "support.pages.dashboard.context",
    "SIDEBAR": {"navigation": "support.pages.navigation.sidebar"},
}

# --- API framework -----------------------------------------------------------------------------------------------

DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
"""Bytes of the largest body that the site takes, with its files. The proxy has a limit of its own."""
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["payments.api.parsers.StrictJsonParser"],
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Credits API",
    "DESCRIPTION": "Buy credits and follow payments. Key: `Authorization: Bearer <API key>`.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    # Everything from this server: no content delivery network, so the page works offline.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "ENUM_NAME_OVERRIDES": {"PaymentStatus": "payments.models.Payment.Status"},
}

# --- Logging -----------------------------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", default="INFO")},
    "loggers": {
        "django.request": {"level": "ERROR"},
        # At DEBUG the driver writes whole commands, customers' keys in them, whatever LOG_LEVEL asks for.
        "pymongo": {"level": env.str("DATABASE_LOG_LEVEL", default="INFO")},
    },
}
