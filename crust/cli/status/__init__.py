"""
``crust status``: what a running node does.

- ``command``: the arguments, and looking once or again and again. ``places``: where nodes' sockets are. ``client``:
  asks one. ``rates``: what two looks make together. ``text``: the tables. ``live``: the same place on a screen, anew.
"""
