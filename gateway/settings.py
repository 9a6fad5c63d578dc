"""The settings, read once from the environment by the composition root.

A name that is not known stops the start: a setting that is silently ignored is worse than none.
"""

import difflib
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

PREFIX = "STAMPEDE_"
_UNPREFIXED = ("DATABASE_URL", "REDIS_URL", "ELASTICSEARCH_URL", "SMTP_URL")

Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[int, Meta(ge=1)]
MailFrom = Annotated[
    str, Meta(max_length=200, pattern=r"^([^<>\r\n]* )?<[^@\s<>]+@[A-Za-z0-9.-]+>$")
]
NotNegative = Annotated[float, Meta(ge=0)]


class SettingsError(Exception):
    """A setting is unknown or impossible; the message is for whoever starts the program."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    http_host: str = "127.0.0.1"
    http_port: Port = 8080
    # Where browsers find us: then a phone's own camera opens the scanner's page with its code.
    public_url: Annotated[str, Meta(pattern=r"^https?://[^\s/#]+$")] | None = None
    ops_port: Port | None = None  # health and metrics of a process, apart from the buyers' port
    node_name: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    data_dir: str = ".stampede"
    mode: Literal["development", "production"] = "development"
    order_hold_seconds: Positive = 900
    finished_order_kept_seconds: Positive = 3600
    offer_seconds: Positive = 1800
    booking_request_days: Annotated[float, Meta(gt=0)] = 7.0  # a hall waits as long for its deposit
    doors_open_hours: NotNegative = 4.0
    scan_wait_seconds: Annotated[float, Meta(gt=0)] = 0.3  # for an owner of whom nothing is heard
    transfer_cutoff_hours: NotNegative = 0.0
    rate_limits: Literal["on", "off"] = "on"
    journal_kept_hours: NotNegative | None = None  # then it moves to files in `archive_dir`
    archive_dir: str | None = None  # unset: `archive` in the data folder
    shards: Annotated[int, Meta(ge=1, le=1024)] = 16
    log: Literal["on", "off"] = "on"
    token_secret: Annotated[str, Meta(min_length=32)] | None = None
    webhook_secret: Annotated[str, Meta(min_length=32)] | None = None
    # With a key, payments go to Stripe. Several secrets, by commas, while they are changed.
    stripe_secret_key: Annotated[str, Meta(pattern=r"^(sk|rk)_[A-Za-z0-9_]{8,}$")] | None = None
    stripe_webhook_secrets: (
        Annotated[str, Meta(pattern=r"^whsec_[^\s,]{8,}(,whsec_[^\s,]{8,}){0,4}$")] | None
    ) = None
    stripe_api_url: Annotated[str, Meta(pattern=r"^https?://\S+$")] | None = None  # for tests
    database_url: str | None = None
    redis_url: str | None = None
    elasticsearch_url: str | None = None
    search_server: Literal["elasticsearch", "opensearch"] = "elasticsearch"  # behind that URL
    smtp_url: Annotated[str, Meta(pattern=r"^smtps?://([^\s/@]+@)?[^\s/@]+/?$")] | None = None
    mail_from: MailFrom = "Tickets <tickets@localhost>"
    # PEM files: the pass type's certificate with its key, and Apple's own above it.
    apple_pass_certificate: str | None = None
    apple_intermediate_certificate: str | None = None
    google_wallet_key: str | None = None  # the service account's JSON file
    google_wallet_issuer: Annotated[str, Meta(pattern=r"^[0-9]{1,30}$")] | None = None
    # Webhooks go to https only, and to no private address: but for tests, to this machine.
    webhooks_to_localhost: Literal["on", "off"] = "off"

    @property
    def production(self) -> bool:
        return self.mode == "production"

    @property
    def webhooks_reach_localhost(self) -> bool:
        return self.webhooks_to_localhost == "on" and not self.production

    @property
    def archive_folder(self) -> str:
        return self.archive_dir or f"{self.data_dir}/archive"

    @property
    def mail_folder(self) -> str:
        return f"{self.data_dir}/mail"


def read(environment: Mapping[str, str]) -> Settings:
    """Raises SettingsError with one sentence that names the setting."""
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if (name.startswith(PREFIX) or name in _UNPREFIXED) and value != ""
    }
    known = Settings.__struct_fields__
    for field in given:
        if field not in known:
            raise SettingsError(_unknown(field, known))
    try:
        settings = msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(_impossible(str(error))) from None
    _refuse_default_secrets(settings)
    return settings


def _environment_name(field: str) -> str:
    name = field.upper()
    return name if name in _UNPREFIXED else PREFIX + name


def _unknown(field: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(field, known, n=1)
    hint = f"; did you mean {_environment_name(close[0])}?" if close else ""
    return f"unknown setting {PREFIX}{field.upper()}{hint}"


def _impossible(error: str) -> str:
    what, _, path = error.partition(" - at `$.")
    return f"setting {_environment_name(path.rstrip('`'))}: {what[0].lower()}{what[1:]}"


def _refuse_default_secrets(settings: Settings) -> None:
    if settings.stripe_secret_key is not None and settings.stripe_webhook_secrets is None:
        raise SettingsError("STAMPEDE_STRIPE_SECRET_KEY needs STAMPEDE_STRIPE_WEBHOOK_SECRETS")
    if not settings.production:
        return
    if settings.stripe_api_url is not None:
        raise SettingsError("production mode has no STAMPEDE_STRIPE_API_URL: Stripe's own it is")
    if settings.smtp_url is not None and settings.mail_from == Settings().mail_from:
        raise SettingsError("production mode with SMTP_URL needs STAMPEDE_MAIL_FROM")
    for field in ("token_secret", "webhook_secret"):
        if getattr(settings, field) is None:
            name = _environment_name(field)
            raise SettingsError(f"production mode needs {name} (at least 32 characters)")
