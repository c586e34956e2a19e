"""
What a node knows and does about the translators and filters around it; sans-IO cores, with thin drivers beside them.

The map::

    stun/       addresses as others see them: the messages of RFC 8489 and RFC 5780, client and server
    mapping/    ports that the router opens for us: PCP, NAT-PMP, UPnP-IGD, and the lease that is kept up
    probe/      what the network does to UDP and TCP, found out in seconds
    punch/      ways through that both ends work on together: plans, what carries them out, and how much may be sent
    methods     the ways to reach a peer that this version has, and which networks they work between
    sides       what a survey says, as methods need it         forecast    each kind of peer: reached how, how fast
    site        the kind of network, in words                  hints       what a person could change
    verdict     all of these together, a grade, and what is not known
    assess, survey   the public functions, which load the rest when they are called
"""
