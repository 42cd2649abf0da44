"""Ports: nobody is given one that somebody else was given."""

from services.local.ports import free_ports


def test_a_port_is_given_once() -> None:
    given = [port for _ in range(20) for port in free_ports(50)]
    assert len(set(given)) == len(given)
