"""
Ways to move bytes between two machines, behind one contract.

``contract``        what a transport, its listeners, dials and connections promise
``tcp_connection``  one TCP connection: reader thread, direct writes, orderly and sudden ends
``tcp``             dialling and listening on TCP; ``lobby``: where its callers wait until they have said something
``pieces``          how much of a stream is handed on at once
``living``          what a transport has made and what is still in use
``udp``             a hub: one UDP socket, its reader, and whom each datagram is for
``udp_members``     what it hands them to
``udp_offload``     what the system can do for such a socket: several datagrams a call, sizes, errors by ICMP
``udp_receive``     receiving datagrams so that those which come together are handled together
``udp_sending``     sending several at once; ``udp_once``: a few from a socket of their own
``udp_sieve``       has the kernel throw away what strangers flood such a socket with
``icmp``            what routers say of datagrams that were sent; ``hearing``: how much of that a hub hears
``utp/``            µTP, reliable streams over such hubs
``readiness``       what a reader waits with where sockets must not block
``resolving``       names into addresses
``errors``          what errors of sockets mean, in words
``blocking``        ``recv`` and ``sendall`` over any connection, for tools and the conformance suite

A transport knows bytes and addresses, nothing of peers, keys or messages. ``tests/transports/conformance.py``
holds the contract as tests; every transport passes it, on threads and on greenlets.
"""
