"""
Ways to move bytes between two machines, behind one contract.

``contract``        what a transport, its listeners, dials and connections promise
``tcp_connection``  one TCP connection: reader thread, direct writes, orderly and sudden ends
``readiness``       what a reader waits with where sockets must not block
``tcp``             dialling and listening on TCP
``blocking``        ``recv`` and ``sendall`` over any connection, for tools and the conformance suite

A transport knows bytes and addresses, nothing of peers, keys or messages. ``tests/transports/conformance.py``
holds the contract as tests; every transport passes it, on threads and on greenlets.
"""
