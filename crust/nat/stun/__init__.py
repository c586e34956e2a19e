"""
STUN: at which address a stranger sees us.

The map::

    definition    the messages of RFC 8489 and RFC 5780 in construct
    message       the same as values, and how to tell one from other traffic
    transaction   one question: when it is sent, and what answers it
    responder     the answers to others: whom, what, and how often
"""
