"""
The row that wires everything.

``events``         what the application hears
``subscriptions``  who hears what
``node``           the inside: threads, and the parts joined
``machine``        what a node takes from the computer it runs on
``listeners``      listening, and the addresses that follow
``bootstrap``      reaching the first node
``stats``          counters
``service``        the public face
"""
