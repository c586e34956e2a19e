"""
The row that wires everything.

``service``          the public face; ``lifecycle``: how a node begins and ends, and who it is
``node``             the inside: threads, and the parts joined; ``hooks``: where parts hear what happens in it
``machine``          what a node takes from the computer it runs on
``connecting``       whom an application means, and how it waits for them
``events``           what the application hears; ``subscriptions``: who hears what; ``stream``: for who would rather ask
``file_channel``     a session as the file transfer sees it
``endings``          what the application is told at the end of a session; ``backlog``: whether it keeps up
``stats``            counters
``misbehaviour``     who misbehaves, who hears of it, and what becomes of them; ``signed``: messages that are proof
``at_exit``          the interpreter's end; ``forking``: a forked child; ``process_local``: one node per process

Folders, each with a map of its own:

``bans``             who is not let in
``finding``          whom a node looks for: directory, bootstrap, cache, LAN; in ``finding.gossip`` signed records
``groups``           connections that are kept up
``network``          listening, where others see us, what routers do: what is known of the network around a node
``traversal``        better paths for sessions
``reloading``        a configuration that is read again
``status``           what a node tells of itself
"""
