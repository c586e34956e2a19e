"""
Ports that a router opens for this node: asked for, kept, and given back.

The map::

    gateway      which router this machine's packets go to, and our address towards it
    definition   the packets of PCP and NAT-PMP in construct
    pcp          RFC 6887 as values; natpmp: RFC 6886
    line         the sockets and the thread that speak to one router
    exchange     requests on their way, and when each is sent again
    ways         what all protocols have in common: what is asked, and what comes of it
    datagram_way  what PCP and NAT-PMP share of that
    pcp_way, natpmp_way, igd_way   the protocols as cores without I/O
    ssdp         how an UPnP router is found; igd: talking to it, by miniupnpc
    igd_relay    what miniupnpc talks to instead, and which talks to the router; igd_http: its words
    lease        one mapping: its port, its life, its renewals
    layers       whether there is another NAT beyond the router
    mapper       the plan for one router: which protocol, and each mapping kept up; a core without I/O
    journal      the list on disk of what has been opened, for whoever starts after a crash
    keeper       the thread that does all this for a node
    offers       what a router would do for us, asked once
"""
