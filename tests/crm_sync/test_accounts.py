from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from services.crm_sync.accounts import of_kind, read_accounts
from services.crm_sync.connectors.hubspot.api import HubspotAccount
from services.crm_sync.connectors.salesforce.api import SalesforceAccount
from services.crm_sync.connectors.tryton.rpc import TrytonAccount
from services.crm_sync.connectors.zendesk_sell.api import OAuth, SellAccount
from services.crm_sync.connectors.zoho_crm.api import ZohoCrmAccount
from services.crm_sync.connectors.zoho_desk import DeskAccount
from services.crm_sync.settings import CrmSyncSettings
from services.runtime.failures import WorkerFailed

GOOD = {
    "connector": "tryton",
    "url": "https://crm.example.com/",
    "database": "acme",
    "user": "chat",
    "password": "s3cret-word",
}

SELL = {"connector": "zendesk_sell", "token": "s3cret-word"}
SALESFORCE = {
    "connector": "salesforce",
    "url": "https://acme.my.salesforce.com/",
    "client_id": "app",
    "client_secret": "s3cret-word",
}
HUBSPOT = {"connector": "hubspot", "token": "s3cret-word"}
APP = {
    "connector": "zendesk_sell",
    "client_id": "app",
    "client_secret": "s3cret-word",
    "refresh_token": "s3cret-too",
    "reference_field": "Chat",
    "private_addresses": True,
}

ZOHO = {
    "connector": "zoho_crm",
    "client_id": "app",
    "client_secret": "s3cret-word",
    "refresh_token": "s3cret-too",
}
DESK = {
    "org_id": "11",
    "department_id": "7001",
    "client_id": "app",
    "client_secret": "s3cret-word",
    "refresh_token": "s3cret-too",
}


def written(folder: Path, entries: Any) -> Path:
    path = folder / "accounts.json"
    path.write_bytes(entries if isinstance(entries, bytes) else orjson.dumps(entries))
    return path


def test_accounts_by_workspace(tmp_path: Path) -> None:
    near = GOOD | {"url": "http://127.0.0.1:8000", "database": "other"}
    accounts = read_accounts(written(tmp_path, {"acme": GOOD, "other": near}))
    password = of_kind(accounts, TrytonAccount)["acme"].password
    assert accounts == {
        "acme": (TrytonAccount("https://crm.example.com", "acme", "chat", password),),
        "other": (TrytonAccount("http://127.0.0.1:8000", "other", "chat", password),),
    }
    assert password.get_secret_value() == "s3cret-word"
    assert "s3cret-word" not in repr(accounts)


def test_an_account_at_hubspot(tmp_path: Path) -> None:
    named = {"portal_id": "42", "lead_stages": ["lead", "4711"], "ticket_stage": "9", "api_version": "v3"}
    entries = {"acme": HUBSPOT, "shop": HUBSPOT | named}
    accounts = of_kind(read_accounts(written(tmp_path, entries)), HubspotAccount)
    assert accounts["acme"] == HubspotAccount(SecretStr("s3cret-word"))
    assert accounts["shop"] == HubspotAccount(
        SecretStr("s3cret-word"),
        portal_id="42",
        lead_stages=("lead", "4711"),
        ticket_stage="9",
        api_version="v3",
    )
    assert "s3cret" not in repr(accounts)


@pytest.mark.parametrize(
    "wrong", [{"api_version": "2026-03/.."}, {"portal_id": "42/x"}, {"url": "http://crm.example.com"}]
)
def test_a_hubspot_account_that_is_none(tmp_path: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=rf"\Aacme\.{next(iter(wrong))}: "):
        read_accounts(written(tmp_path, {"acme": HUBSPOT | wrong}))


def test_an_account_at_salesforce(tmp_path: Path) -> None:
    named = {"marker_field": "Ref__c", "api_version": "v61.0", "desk": DESK}
    accounts = read_accounts(written(tmp_path, {"acme": SALESFORCE, "shop": SALESFORCE | named}))
    here = SalesforceAccount("https://acme.my.salesforce.com", "app", SecretStr("s3cret-word"))
    assert of_kind(accounts, SalesforceAccount) == {
        "acme": here,
        "shop": replace(here, marker_field="Ref__c", api_version="v61.0"),
    }
    assert list(of_kind(accounts, DeskAccount)) == ["shop"]
    assert "s3cret" not in repr(accounts)


def test_an_account_at_zoho(tmp_path: Path) -> None:
    named = {"url": "https://www.zohoapis.eu/", "email_fields": ["Email", "Secondary_Email"], "desk": DESK}
    accounts = read_accounts(written(tmp_path, {"acme": ZOHO, "shop": ZOHO | named}))
    here = ZohoCrmAccount("app", SecretStr("s3cret-word"), SecretStr("s3cret-too"))
    assert of_kind(accounts, ZohoCrmAccount) == {
        "acme": here,
        "shop": replace(here, url="https://www.zohoapis.eu", email_fields=("Email", "Secondary_Email")),
    }
    assert list(of_kind(accounts, DeskAccount)) == ["shop"]
    assert "s3cret" not in repr(accounts)


def test_accounts_at_several_crms(tmp_path: Path) -> None:
    accounts = read_accounts(written(tmp_path, {"acme": GOOD, "shop": SELL, "mill": APP}))
    sell = of_kind(accounts, SellAccount)
    assert sorted(sell) == ["mill", "shop"]
    assert list(of_kind(accounts, TrytonAccount)) == ["acme"]
    assert sell["shop"] == SellAccount(SecretStr("s3cret-word"), "Chat reference")
    app = OAuth("app", SecretStr("s3cret-word"), SecretStr("s3cret-too"))
    assert sell["mill"] == SellAccount(app, "Chat", private_addresses=True)
    assert "s3cret" not in repr(accounts)


def test_a_second_account_for_tickets(tmp_path: Path) -> None:
    entries = {"acme": GOOD | {"desk": DESK}, "tiny": APP | {"desk": DESK}, "shop": SELL}
    accounts = read_accounts(written(tmp_path, entries))
    desks = of_kind(accounts, DeskAccount)
    assert sorted(desks) == ["acme", "tiny"]
    assert desks["tiny"] == DeskAccount(
        org_id="11",
        department_id="7001",
        client_id="app",
        client_secret=SecretStr("s3cret-word"),
        refresh_token=SecretStr("s3cret-too"),
    )
    assert list(of_kind(accounts, TrytonAccount)) == ["acme"]
    assert "s3cret" not in repr(accounts)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000",
        "http://127.0.0.1",
        "http://[::1]:8000",
        "https://10.1.2.3/tryton",
        "https://crm",
    ],
)
def test_addresses(tmp_path: Path, url: str) -> None:
    accounts = read_accounts(written(tmp_path, {"acme": GOOD | {"url": url}}))
    assert of_kind(accounts, TrytonAccount)["acme"].url == url


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (GOOD | {"url": "http://crm.example.com"}, "acme.url: Value error, https was expected"),
        (GOOD | {"url": "http://10.1.2.3"}, "acme.url: Value error, https was expected"),
        (GOOD | {"url": "crm.example.com"}, "acme.url: Value error, an address such as"),
        (GOOD | {"url": "ftp://crm.example.com"}, "acme.url: Value error, an address such as"),
        (GOOD | {"url": "https://"}, "acme.url: Value error, an address such as"),
        (GOOD | {"url": "https://me:word@crm.example.com"}, "acme.url: Value error, an address without"),
        (GOOD | {"url": "https://crm.example.com?a=b"}, "acme.url: Value error, an address without"),
        (GOOD | {"url": "https://crm.example.com#b"}, "acme.url: Value error, an address without"),
        (GOOD | {"url": "https://[crm"}, "acme.url: Value error"),
        (GOOD | {"connector": "trytn"}, "acme.connector: one of tryton, "),
        (GOOD | {"database": "a/b"}, "acme.database: String should match"),
        (GOOD | {"user": "a:b"}, "acme.user: String should match"),
        (GOOD | {"user": ""}, "acme.user: String should have at least 1"),
        (GOOD | {"password": ""}, "acme.password: "),
        (GOOD | {"passwrd": "x"}, "acme.passwrd: Extra inputs are not permitted"),
        ({key: GOOD[key] for key in GOOD if key != "connector"}, "acme.connector: Field required"),
        ({key: GOOD[key] for key in GOOD if key != "password"}, "acme.password: Field required"),
        ("acme", "acme: Input should be "),
        (GOOD | {"desk": DESK | {"org_id": "acme"}}, "acme.desk.org_id: String should match"),
        (GOOD | {"desk": {}}, "acme.desk.org_id: Field required"),
        (SELL | {"api_version": "2"}, "acme.api_version: String should match"),
        (SELL | {"client_id": "app"}, "acme: Value error, a token was expected, or client_id"),
        (APP | {"client_secret": None}, "acme: Value error, a token was expected, or client_id"),
        ({"connector": "zendesk_sell"}, "acme: Value error, a token was expected, or client_id"),
        (ZOHO | {"email_fields": []}, "acme.email_fields: Tuple should have at least 1"),
        (ZOHO | {"email_fields": ["Email or 1"]}, "acme.email_fields.0: String should match"),
        (ZOHO | {"reference_field": "A'B"}, "acme.reference_field: String should match"),
        (SELL | {"url": "http://api.getbase.com"}, "acme.url: Value error, https was expected"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_without_its_value(
    tmp_path: Path, entry: Any, said: str
) -> None:
    with pytest.raises(ValueError, match="acme") as refused:
        read_accounts(written(tmp_path, {"acme": entry}))
    assert said in str(refused.value)
    assert "s3cret-word" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff"])
def test_what_is_no_such_file_is_said(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(ValueError, match="the file: "):
        read_accounts(written(tmp_path, text))


def test_the_worker_says_which_setting_is_wrong(tmp_path: Path) -> None:
    assert CrmSyncSettings().accounts() == {}
    with pytest.raises(WorkerFailed, match="CHAT_CRM_ACCOUNTS_FILE can't be read"):
        CrmSyncSettings(crm_accounts_file=tmp_path / "none").accounts()
    wrong = written(tmp_path, {"acme": GOOD | {"url": "http://crm.example.com"}})
    with pytest.raises(WorkerFailed, match=r"CHAT_CRM_ACCOUNTS_FILE can't be used: acme\.url"):
        CrmSyncSettings(crm_accounts_file=wrong).accounts()
