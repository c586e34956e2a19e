"""
Identities, the handshake and the encrypted records: sans-IO, with randomness and time as arguments.

- ``keys``: the primitives; the only importer of PyNaCl.
- ``identity``: a node's key pair and the text forms of secrets.
- ``noise``: Noise XK and XKpsk3 (noiseprotocol.org, revision 34).
- ``agreement``: what goes into a handshake and what comes out.
- ``handshake``: the handshake of a stream, both sides.
- ``records``: what flows after it.
- ``proofs``: what somebody has signed, for third parties.
"""
