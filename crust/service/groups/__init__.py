"""
Connections that are kept up: groups of peers, and single ones.

``core``: what is needed, dialled, offered, ended; a core without I/O, with ``members`` (what it remembers) and
``actions`` (what it wants done). ``groups``: the same with threads and events. ``group``: one,
as an application sees it.
"""
