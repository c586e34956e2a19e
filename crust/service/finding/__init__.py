"""
Whom a node looks for, and whom it keeps: what joins :mod:`crust.discovery` to the dialer and to the public face.

``finding``       all of it, joined: the one module here that imports ``gossip``
``directory``     where peers may be, by all that is known: the sources, and the contacts that the node was given
``bootstrap``     the way into the network, and staying in it; ``search``: one search for first peers, by many leads
``caching``       nodes reached before: the cache on disk, followed and knocked at
``lan``           nodes on the same links, by the beacon; ``lan_peer``: what is told of one; ``neighbours``: how
                  often one that nobody else has told of is dialled
``gossip``        signed records of nodes: a folder of its own
``reachability``  whether strangers reach those who join here; ``crowd``: who of them is sent on to others
``dial_rules``    what of that which others say may be dialled; ``strangers``: how often; ``blacklist``: what
                  ``bootstrap()`` is not to dial; ``dropped``: whom an application has let go of
``telling``       what these parts say in the status
"""
