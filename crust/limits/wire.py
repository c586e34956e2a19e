"""What the wire format fixes (docs/wire-format.md): changing it breaks interoperation."""

from __future__ import annotations

# --- fixed by the wire format (docs/wire-format.md) ---------------------------------------------------------

PROTOCOL_VERSION = 1
PEER_ID_SIZE = 32  # an Ed25519 public key, RFC 8032 section 5.1.5
PEER_ID_CHECKSUM_SIZE = 3  # 32 + 3 bytes are exactly 56 characters of base32
SESSION_ID_SIZE = 16
INCARNATION_SIZE = 16  # random name of one run of one node
SALT_SIZE = 16  # opens every stream; masks the handshake's lengths and keys
SALT_MEMORY = 1 << 16  # salts remembered against replay of message 1
HANDSHAKE_MESSAGE_MAX = 1024  # bytes of one Noise message
HANDSHAKE_PADDING_MAX = 255  # random bytes after each handshake payload
RECORD_PLAINTEXT_MAX = 65_280  # leaves room for the tag below the 16-bit length
RECORD_PADDING_MAX = 255  # random bytes added to a record of control frames only
MASKS_PER_DRAW = 256  # record length masks taken from one SHAKE128 call (1.5 microseconds)
REKEY_RECORDS = 1 << 20  # records under one key at the most
REKEY_SECONDS = 900.0  # seconds under one key at the most
MESSAGE_OVERHEAD = 64  # bytes that each message costs besides its length, in every account of buffers
SMALL_RESERVE = 65_536  # bytes of the window kept for messages that fit one record
PARTIAL_MESSAGES_MAX = 4  # big messages under way at once in one direction
DENIED_TEXT_MAX = 200  # bytes of explanation in a refusal or a goodbye
ALTERNATES_MAX = 8  # contacts a busy node suggests
PRIORITY_MAX = 255  # least urgent; 0 is most urgent
NETWORK_HINT_SIZE = 8  # bytes of the network id that connection info shows (docs/wire-format.md, "Text forms")
CONTROL_FRAMES_MAX = 32  # frames in one record besides BATCH, PIECE and ACK: they are the dear ones to parse
CONTACT_WIRE_MAX = 1024  # bytes of one suggested contact
ECHO_PORT_MIN = 1024  # lower ones belong to services that may not want to be tried
ECHO_TOKEN_SIZE = 12  # the transaction of a STUN message
CIRCUIT_DATA_MAX = 16_384  # bytes of a circuit in one record: others' records come in between
CANDIDATES_MAX = 16  # addresses of one family that a peer may offer
STANDINGS_MAX = 4  # two transports, two families
METHOD_NAME_MAX = 32
SIGNAL_MAX = 2048  # bytes of one word between two ends of a traversal method
ECHO_PORTS_MAX = 4  # of each transport
TRANSFER_NAME_MAX = 1024  # bytes of an offered file's name
SIGNATURE_SIZE = 64  # Ed25519, RFC 8032 section 5.1.6
PROOF_ID_SIZE = 16
SIGNED_FILE_MAX = 1218  # bytes of what is signed of a file, the longest name and the signature included
GOSSIP_RECORD_MAX = 512  # bytes of what a node says of itself, signature included
GOSSIP_ENDPOINTS_MAX = 8  # addresses in it
GOSSIP_VIA_MAX = 3  # peers that introduce it
GOSSIP_VIA_ENDPOINTS_MAX = 2  # addresses of each of them
GOSSIP_ITEMS_MAX = 256  # records that one frame names
GOSSIP_DEPTH_MAX = 8  # parts that stores are compared in: 2 to the power of this
GOSSIP_REQUEST_MAX = 64  # records that one frame asks for
GOSSIP_BATCH_MAX = 16  # records in one frame
GOSSIP_NEARER_MAX = 6  # public nodes in one answer
GOSSIP_LIFE = 7200.0  # seconds that a record holds
GOSSIP_SKEW = 600.0  # seconds that clocks may differ
