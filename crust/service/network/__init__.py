"""
What a node does about the network around it: it listens, and learns under which addresses others may reach it.

``network``        all of it, joined
``listeners``      listening, and the addresses that follow
``port_mapping``   ports that the router opens
``reflection``     where others see us: ``sounding`` (how translators treat us), ``filtering`` (whether strangers get
                   in), ``echo_desk`` (more ports that answer STUN: ours, and those of our peers), ``sources`` (whom
                   we ask), ``retries`` (when servers are asked once more)
``outlook``        what comes of all that, for peers with whom a path is looked for
``loading``        what has to be imported while there are descriptors
``way_out``        from which port dials leave
``network_watch``  noticing that the network is another one, by ``surroundings``
``rotation``       changing ports while running; ``relocation``: sessions that follow a node to another port
"""
