"""Where a request may go: judged by address, connected to what was judged, the certificate held against the name."""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.crm_sync.connectors.vendor import reach
from services.crm_sync.connectors.vendor.reach import HOSTS_MAX, AddressForbidden, Reach

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"


def leads_to(*addresses: str) -> reach.Resolve:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve


async def _ask(url: str, *addresses: str, private_addresses: bool = False) -> int:
    way = Reach(private_addresses=private_addresses, resolve=leads_to(*addresses))
    async with httpx.AsyncClient(transport=way, timeout=2) as client:
        return (await client.get(url)).status_code


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("https://crm.example.com", ["127.0.0.1"]),
        ("https://crm.example.com", ["10.1.2.3"]),
        ("https://crm.example.com", ["172.16.0.9"]),
        ("https://crm.example.com", ["192.168.1.1"]),
        ("https://crm.example.com", ["169.254.169.254"]),
        ("https://crm.example.com", ["100.64.0.1"]),
        ("https://crm.example.com", ["0.0.0.0"]),
        ("https://crm.example.com", ["224.0.0.1"]),
        ("https://crm.example.com", ["255.255.255.255"]),
        ("https://crm.example.com", ["::1"]),
        ("https://crm.example.com", ["fd00::1"]),
        ("https://crm.example.com", ["fe80::1"]),
        ("https://crm.example.com", ["::ffff:10.1.2.3"]),
        ("https://crm.example.com", ["2002:0a01:0203::1"]),
        ("https://crm.example.com", ["ff02::1"]),
        ("https://crm.example.com", ["8.8.8.8", "10.1.2.3"]),
        ("http://crm.example.com", ["8.8.8.8"]),
        ("http://localhost", ["127.0.0.1"]),
    ],
)
async def test_forbidden(url: str, addresses: list[str]) -> None:
    with pytest.raises(AddressForbidden):
        await _ask(url, *addresses)


@pytest.mark.parametrize("address", ["10.1.2.3", "8.8.8.8", "::ffff:192.168.0.1"])
async def test_without_tls_to_loopback_alone_even_where_private_addresses_are_allowed(address: str) -> None:
    with pytest.raises(AddressForbidden):
        await _ask("http://crm.example.com", address, private_addresses=True)


async def test_no_more_than_four_hosts() -> None:
    way = Reach(private_addresses=False, resolve=leads_to("10.0.0.1"))
    async with httpx.AsyncClient(transport=way) as client:
        for number in range(HOSTS_MAX + 1):
            with pytest.raises(AddressForbidden, match="hosts" if number == HOSTS_MAX else "private"):
                await client.get(f"https://{number}.example.com")


async def test_a_name_that_leads_nowhere() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise OSError

    way = Reach(private_addresses=False, resolve=resolve)
    async with httpx.AsyncClient(transport=way) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("https://crm.example.com")


# ---------------------------------------------------------------- on the wire


async def _hi(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(ANSWER)
    await writer.drain()
    writer.close()


@pytest.fixture
async def tls_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """A server whose certificate is crm.example.com's, by an authority that is trusted."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority for a test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("crm.example.com")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    file = tmp_path / "server.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    reach._certificates.cache_clear()
    server = await asyncio.start_server(_hi, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    reach._certificates.cache_clear()


async def test_the_certificate_is_held_against_the_name(tls_port: int) -> None:
    asked = f"https://crm.example.com:{tls_port}/"
    assert await _ask(asked, "127.0.0.1", private_addresses=True) == 200
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        await _ask(f"https://other.example.com:{tls_port}/", "127.0.0.1", private_addresses=True)


async def test_the_next_address_is_tried(tls_port: int) -> None:
    asked = f"https://crm.example.com:{tls_port}/"
    assert await _ask(asked, "127.0.0.2", "127.0.0.1", private_addresses=True) == 200
    assert await _ask(asked, "::ffff:127.0.0.1", private_addresses=True) == 200
