"""
What is known of other nodes, and who else is there. Nothing here dials: it yields addresses, and takes news.

``beacon/``: who is on the LAN. ``cache/``: who was there in the last run. ``gossip/``: signed records of all.
``hearsay``: which of the addresses that others tell may be dialled from here.
"""
