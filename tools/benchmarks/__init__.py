"""
What ``tools/bench`` runs: crust beside other ways of carrying messages, in alternating rounds.

The rooms, each importing only from those above it::

    machine     processors, memory, limits; what this run was measured on
    contract    what a peer library must offer, and the loops that are the same for all
    sides       the listening and the dialling side, as most libraries have them
    peers/      crust, raw TCP, ssl, pyzmq, websockets: one file each
    child       the process that holds one side of a measurement, and the commands it takes
    children    the same from outside: start, command, always end
    stage       two sides put up for one measurement
    results     figures of all rounds, targets, JSON and Markdown
    trials/     bulk, utp, rate, rtt, setup, conns, circuits, import, flood, siege, crowd …: one file each
    command     options, and the order in which all of it runs

Each side of a measurement is a fresh process: the *hub* listens, the *spokes* dial it. Everything stays on loopback.
"""
