"""
The command line: ``crust``, or ``python -m crust``. One file a command, each using only what ``import crust`` gives.

::

    main       the tree of arguments, exit codes, one clear line for every error
    options    what all commands share: configuration, identity, contacts, the running node
    terminal   stdout for data, stderr for people: lines, questions, progress bars
    lines      reading stdin line by line, stoppable
    book       contacts add | list | remove: names for peers
    keygen     identity files and network secrets
    send       send files             receive    recv: take files
    chat       talk                   demo       everything at once, on this machine
    node       a node on its own      control    its --json channel      as_json    events as JSON
"""
