"""
What the network does to UDP and TCP: plans without I/O, and the sockets that carry them out.

The map::

    classes     what a set of observations says: mapping, filtering, choice of ports (pure functions)
    questions   STUN requests under way: sent again until they are answered or given up
    actions     what a plan wants done with sockets
    asking      what plans have in common that ask by datagrams
    udp_plan    what to ask over UDP, and what comes of it
    tcp_plan    the same over TCP
    hops_plan   the first routers on the way
    lifetime_plan  how long a quiet mapping lives, which takes minutes
    runner      sockets, and the thread that does what plans want
    servers     whom to ask
    names       their names, read and looked up
    helping     peers that call back
    machine     interfaces, VPNs, the way out
    survey      all of it, once
"""
