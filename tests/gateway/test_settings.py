"""Settings are read once; what is unknown or impossible stops the start with its name."""

import pytest

from gateway.settings import SettingsError, read


def test_the_defaults_stand_without_any_environment() -> None:
    settings = read({"PATH": "/usr/bin"})
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8080)
    assert settings.order_hold_seconds == 900


def test_an_unknown_setting_is_named_with_the_nearest_one() -> None:
    with pytest.raises(SettingsError, match=r"STAMPEDE_ORDER_HOLD_SECOND.*STAMPEDE_ORDER_HOLD_SEC"):
        read({"STAMPEDE_ORDER_HOLD_SECOND": "5"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STAMPEDE_HTTP_PORT", "99999"),
        ("STAMPEDE_HTTP_PORT", "web"),
        ("STAMPEDE_MODE", "staging"),
        ("STAMPEDE_ORDER_HOLD_SECONDS", "0"),
        ("STAMPEDE_TOKEN_SECRET", "short"),
        ("SMTP_URL", "mail.example.org"),
        ("SMTP_URL", "http://mail.example.org"),
        ("STAMPEDE_MAIL_FROM", "tickets"),
        ("STAMPEDE_MAIL_FROM", "Tickets <a@x.org>\r\nBcc: <b@x.org>"),
    ],
)
def test_an_impossible_value_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read({name: value})


def test_production_refuses_default_secrets() -> None:
    with pytest.raises(SettingsError, match="STAMPEDE_TOKEN_SECRET"):
        read({"STAMPEDE_MODE": "production"})
    secrets = {"STAMPEDE_TOKEN_SECRET": "t" * 32, "STAMPEDE_WEBHOOK_SECRET": "w" * 32}
    assert read({"STAMPEDE_MODE": "production", **secrets}).production


def test_production_sends_mail_in_its_own_name() -> None:
    given = {
        "STAMPEDE_MODE": "production",
        "STAMPEDE_TOKEN_SECRET": "t" * 32,
        "STAMPEDE_WEBHOOK_SECRET": "w" * 32,
        "SMTP_URL": "smtps://user:secret@mail.example.org:465",
    }
    with pytest.raises(SettingsError, match="STAMPEDE_MAIL_FROM"):
        read(given)
    assert read({**given, "STAMPEDE_MAIL_FROM": "Hall <tickets@example.org>"}).production


def test_stripe_needs_its_webhooks_secrets_and_its_own_address_in_production() -> None:
    key = {"STAMPEDE_STRIPE_SECRET_KEY": "sk_test_0123456789"}
    with pytest.raises(SettingsError, match="STAMPEDE_STRIPE_WEBHOOK_SECRETS"):
        read(key)
    both = {**key, "STAMPEDE_STRIPE_WEBHOOK_SECRETS": "whsec_new00000,whsec_old00000"}
    assert read(both).stripe_webhook_secrets == "whsec_new00000,whsec_old00000"
    production = {
        **both,
        "STAMPEDE_MODE": "production",
        "STAMPEDE_STRIPE_API_URL": "http://127.0.0.1:1",
    }
    with pytest.raises(SettingsError, match="STAMPEDE_STRIPE_API_URL"):
        read(production)
