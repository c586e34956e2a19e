"""
crust's own messages, as bytes: each is defined once, in construct, and has a typed value, a builder and a parser.

- ``definitions``: every message in construct. ``fields``: the pieces that several of them share, and the one place
  where construct meets typed code. ``codec`` loads both when the first message, or a node, needs them.
- ``handshake``: the payloads of the three handshake messages.
- ``frames``: what the records of a link hold: messages, acknowledgements, control.
  ``frame_values``: the same as values.
- ``transfer``: the messages of file transfer, which travel like an application's messages.
- ``gossip``: what nodes tell each other about nodes. ``proofs``: what is signed for third parties.
- ``labelled``: text files that say what they are.

``parse_*_untrusted`` functions take bytes of strangers. They raise :exc:`~crust.MalformedMessage` and nothing else, and
they refuse what is not exactly a message of this version: unknown values, reserved bits, bytes too many or too few.
``build_*`` functions take values of ours and raise :exc:`ValueError` for what the wire cannot hold. All are pure and
thread-safe. docs/wire-format.md describes the same in prose.
"""
