"""What several sources know of one peer may be more than a contact holds."""

from __future__ import annotations

from crust import Contact, Endpoint, Identity, limits
from crust.service.finding.directory import Contacts, contact_of_first

PEER = Identity.generate().peer_id


def test_the_first_are_taken() -> None:
    """As many as one contact may have, each once; of long names fewer; of none, none."""
    places = [Endpoint("tcp", f"192.0.2.{number}", 1000) for number in range(limits.CONTACT_ENDPOINTS_MAX + 3)]
    found = contact_of_first(PEER, [*places[:2], *places])
    assert found.endpoints == tuple(places[: limits.CONTACT_ENDPOINTS_MAX])
    label = "a" * 60
    names = [Endpoint("tcp", f"{label}.{label}.{label}.n{number}.example", 1000) for number in range(30)]
    found = contact_of_first(PEER, names)
    assert 10 < len(found.endpoints) < 30 and len(str(found)) <= limits.CONTACT_TEXT_MAX
    assert contact_of_first(PEER, []) == Contact(PEER)


def test_many_contacts_of_one_peer_are_one() -> None:
    """Whatever they hold together."""
    given = Contacts(
        Contact(PEER, [Endpoint("tcp", f"192.0.{part}.{number}", 1000) for number in range(20)]) for part in range(3)
    )
    [found] = given.contacts()
    assert len(found.endpoints) == limits.CONTACT_ENDPOINTS_MAX
    assert len(given.places(PEER)) == 60
