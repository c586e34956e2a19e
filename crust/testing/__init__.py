"""
Nodes in memory, on a clock that the test moves: to test how a program uses crust, without sockets, ports or sleeps.

    with crust.testing.network() as net:
        alice, bob = net.service(), net.service()
        peer = alice.connect(bob.contact)
        net.cut(alice, bob)
        net.advance(130)
        assert net.heard(alice, crust.LostPeer)

``network``     nodes, the lines between them, and time: what a test uses
``clock``       the virtual clock: who is busy, and what happens when nobody is
``waiting``     conditions, events and queues whose waits that clock ends
``machine``     what a node runs on: threads that the clock knows, a loop and interfaces without a system
``cables``      computers, listeners and lines
``transport``   dialling and listening in memory
``connection``  a connection in memory

Import it by name (``import crust.testing``); nothing else in crust does. The nodes are real ones: real threads, real
handshakes and encryption. docs/testing.md has the whole story.
"""

from .network import Network, Who, network

__all__ = ["Network", "Who", "network"]
