"""
The command line: ``crust``, or ``python -m crust``. One file a command, each using only what ``import crust`` gives.

::

    entry      where the programs begin                   signals    what ends them from outside: early, late, held
    main       the tree of arguments, exit codes, one clear line for every error
    options    what all commands share: configuration, identity, the running node
    context    what each is given: terminal, book, environment            errors     why a command ends
    terminal   stdout for data, stderr for people: lines, questions, progress bars
    lines      reading lines from a descriptor, stoppable

    demo       everything at once, on this machine: programs drives others, proxy is the cable that is cut
    send       send files             receive    recv: take files         chat       talk
    announcing the contact of a node that waits           hangup     SIGHUP: the configuration is read again
    verify     whether somebody signed a file; proofs: the files that say so
    book       contacts add | list | remove: names for peers
    rendezvous links to those that introduce, kept while a command runs;    hearsay: whom busy ones name instead
    keygen     identity files and network secrets                         config_command  what is in force
    node       a node on its own, for people or a script: control is its language, as_json its words
    status      what a running node does: finds its socket, asks, shows tables
    punch_test  what the network allows: the report, and the test between two machines
    control_socket  the same language for several programs: hub decides who hears what
"""
