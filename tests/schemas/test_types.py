"""Field types that bring what they are given into its usual form."""

import pytest
from pydantic import TypeAdapter

from schemas.types import Network

NETWORK: TypeAdapter[str] = TypeAdapter(Network)


@pytest.mark.parametrize(
    ("given", "network"),
    [
        ("10.0.0.1", "10.0.0.1/32"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::ffff:10.0.0.1", "10.0.0.1/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::/0", "::/0"),
    ],
)
def test_networks(given: str, network: str) -> None:
    assert NETWORK.validate_python(given) == network
