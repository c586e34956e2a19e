"""
STUN: at which address a stranger sees us.

The map::

    definition    the messages of RFC 8489 and RFC 5780 in construct
    message       the same as values, and how to tell one from other traffic
    transaction   one question: when it is sent, and what answers it
    responder     the answers to others: whom, what, and how often
    echo_ports    more ports that answer, for who wants to know how a router chooses its outer ones
    door          the same at the beginning of a TCP stream, which may be a handshake as well
    udp           questions and answers on the UDP sockets of a node
    tcp           a question on a TCP connection of its own
    names         the addresses of a server's name
    opinions      what others say of one port of ours: whom to believe
"""
