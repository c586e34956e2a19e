"""
Gossip of signed records, by a running node: what drives the core in :mod:`crust.discovery.gossip`, and what it is for.

``gossiping``       the driver: frames of links in and out, on a thread of its own (``worker``)
``publishing``      what this node tells of itself; ``mail``: what waits to be written to peers
``asking``          questions to nodes that no link leads to
``public_nodes``    the public nodes that records tell of
``borrowed``        sessions that the node began for itself, for any of this, and that end when they are idle
``looking_up``      ``find``: where a node is
``searches``        the same for the dialer, with circuits by those who introduce
``looking_around``  a link more, now and then, to compare notes
``outside``         a link to a public node, for a node that looks for a path and has none to be seen from
"""
