"""PCP and NAT-PMP as bytes: the RFCs' layouts, what is refused, and that nothing else than MalformedMessage comes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust.exceptions import MalformedMessage
from crust.nat.mapping import natpmp, pcp

NONCE = bytes(range(12))
u16, u32 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
addresses = st.ip_addresses().map(lambda ip: str(getattr(ip, "ipv4_mapped", None) or ip))
protocols = st.sampled_from(pcp.Protocol)
nonces = st.binary(min_size=12, max_size=12)

PCP_MESSAGES = st.one_of(
    st.builds(pcp.AnnounceRequest, addresses, u32),
    st.builds(pcp.MapRequest, addresses, u32, nonces, protocols, u16, u16, addresses),
    st.builds(pcp.AnnounceResponse, st.integers(0, 255), u32, u32),
    st.builds(pcp.MapResponse, st.integers(0, 255), u32, u32, nonces, protocols, u16, u16, addresses),
    st.builds(pcp.Rejection, st.integers(1, 255), u32, u32),
)
PMP_MESSAGES = st.one_of(
    st.builds(natpmp.AddressRequest),
    st.builds(natpmp.MapRequest, st.sampled_from(["tcp", "udp"]), u16, u16, u32),
    st.builds(natpmp.AddressResponse, u32, st.ip_addresses(v=4).map(str)),
    st.builds(natpmp.MapResponse, st.sampled_from(["tcp", "udp"]), u32, u16, u16, u32),
    st.builds(natpmp.Error, st.integers(0, 2), st.integers(1, 65535), u32),
)


def test_a_request_as_rfc_6887_draws_it() -> None:
    """Sections 7.1 and 11.1."""
    request = pcp.MapRequest("192.168.1.10", 3600, NONCE, pcp.Protocol.UDP, 4711, 5000)
    assert pcp.build_pcp(request) == (
        b"\x02\x01\0\0"
        + (3600).to_bytes(4, "big")
        + bytes(10)
        + b"\xff\xff\xc0\xa8\x01\x0a"
        + NONCE
        + b"\x11\0\0\0"
        + (4711).to_bytes(2, "big")
        + (5000).to_bytes(2, "big")
        + bytes(10)
        + b"\xff\xff\0\0\0\0"
    )


def test_packets_as_rfc_6886_draws_them() -> None:
    """Sections 3.2 and 3.3."""
    assert natpmp.build_natpmp(natpmp.AddressRequest()) == b"\0\0"
    assert natpmp.build_natpmp(natpmp.MapRequest("tcp", 1, 2, 3)) == b"\0\x02\0\0\0\x01\0\x02\0\0\0\x03"
    assert natpmp.parse_natpmp_untrusted(b"\0\x80\0\0\0\0\0\x05\x14\0\x01\x01") == natpmp.AddressResponse(
        5, "20.0.1.1"
    )
    answer = b"\0\x81\0\0\0\0\0\x05\x12\x67\x12\x68\0\0\x0e\x10"
    assert natpmp.parse_natpmp_untrusted(answer) == natpmp.MapResponse("udp", 5, 4711, 4712, 3600)


@given(PCP_MESSAGES)
def test_pcp_comes_back_as_it_went(message: pcp.Message) -> None:
    data = pcp.build_pcp(message)
    assert pcp.parse_pcp_untrusted(data) == message
    assert len(data) % 4 == 0


@given(PMP_MESSAGES)
def test_natpmp_comes_back_as_it_went(message: natpmp.Message) -> None:
    assert natpmp.parse_natpmp_untrusted(natpmp.build_natpmp(message)) == message


def _damaged(build: Any, message: Any, data: st.DataObject) -> bytes:
    damaged = bytearray(build(message))
    for _ in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(["flip", "cut", "add"]))
        at = data.draw(st.integers(0, max(0, len(damaged) - 1)))
        if kind == "flip" and damaged:
            damaged[at] ^= data.draw(st.integers(1, 255))
        elif kind == "cut":
            del damaged[at:]
        else:
            damaged[at:at] = data.draw(st.binary(max_size=30))
    return bytes(damaged)


@given(PCP_MESSAGES, st.data())
def test_damaged_pcp_is_refused_or_understood(message: pcp.Message, data: st.DataObject) -> None:
    damaged = _damaged(pcp.build_pcp, message, data)
    try:
        found = pcp.parse_pcp_untrusted(damaged)
    except MalformedMessage:
        return
    assert pcp.parse_pcp_untrusted(pcp.build_pcp(found)) == found


@given(PMP_MESSAGES, st.data())
def test_damaged_natpmp_is_refused_or_understood(message: natpmp.Message, data: st.DataObject) -> None:
    damaged = _damaged(natpmp.build_natpmp, message, data)
    try:
        found = natpmp.parse_natpmp_untrusted(damaged)
    except MalformedMessage:
        return
    assert natpmp.parse_natpmp_untrusted(natpmp.build_natpmp(found)) == found


@given(st.binary(max_size=1200))
def test_random_bytes(data: bytes) -> None:
    for parse in (pcp.parse_pcp_untrusted, natpmp.parse_natpmp_untrusted):
        try:
            parse(data)
        except MalformedMessage:
            continue


@pytest.mark.parametrize("size", [*range(60), 61, 62, 63])
def test_a_truncated_success_is_none(size: int) -> None:
    """Whatever is cut off or put behind, but for whole words of options."""
    whole = pcp.build_pcp(pcp.MapResponse(0, 60, 5, NONCE, pcp.Protocol.TCP, 1, 2, "20.0.0.1")) + bytes(4)
    with pytest.raises(MalformedMessage):
        pcp.parse_pcp_untrusted(whole[:size])


def test_an_error_needs_no_more_than_its_header() -> None:
    """Some servers leave out what was asked, others repeat it."""
    data = pcp.build_pcp(pcp.Rejection(1, 0, 7))
    assert len(data) == 24 and pcp.parse_pcp_untrusted(data) == pcp.Rejection(1, 0, 7)
    assert natpmp.parse_natpmp_untrusted(b"\0\x81\0\x02") == natpmp.Error(1, 2)


def test_values_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="cannot be built"):
        pcp.build_pcp(pcp.MapRequest("192.168.1.10", 2**32, NONCE, pcp.Protocol.TCP, 1, 2))
    with pytest.raises(ValueError, match="cannot be built"):
        natpmp.build_natpmp(natpmp.MapRequest("tcp", 70_000, 2, 3))
