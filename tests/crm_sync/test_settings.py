"""Where tokens may be sent."""

import pytest
from pydantic import ValidationError

from services.crm_sync.settings import CrmSyncSettings


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://127.0.0.1:9103", "http://127.0.0.1:9103"),
        ("http://[::1]:9103/", "http://[::1]:9103"),
        ("http://localhost:9103", "http://localhost:9103"),
        ("http://transcript:9103", "http://transcript:9103"),
        ("https://archive.example.com/of/ours/", "https://archive.example.com/of/ours"),
    ],
)
def test_an_address_of_the_archive(given: str, used: str) -> None:
    assert CrmSyncSettings(archive_api_url=given).archive_api_url == used


@pytest.mark.parametrize(
    "given",
    [
        "http://archive.example.com",
        "http://10.0.0.1:9103",
        "http://167772161",
        "http://0x7f.1",
        "http://[fe80::1]",
    ],
)
def test_no_token_crosses_other_networks_in_the_clear(given: str) -> None:
    with pytest.raises(ValidationError, match="must be https"):
        CrmSyncSettings(archive_api_url=given)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "archive",
        "ftp://archive",
        "http://",
        "https://user:word@archive",
        "https://a?b",
        "https://a:99999",
    ],
)
def test_what_is_no_address_is_told_of_without_its_text(given: str) -> None:
    with pytest.raises(
        ValidationError, match=r"an address such as https://archive\.example\.com was expected"
    ):
        CrmSyncSettings(archive_api_url=given)
