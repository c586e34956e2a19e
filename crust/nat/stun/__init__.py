"""
STUN: at which address a stranger sees us.

The map::

    definition    the messages of RFC 8489 and RFC 5780 in construct
    message       the same as values, and how to tell one from other traffic
"""
