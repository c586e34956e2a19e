"""
What a node tells of itself: snapshots for programs, for ``crust status`` and for Prometheus.

- ``snapshot``: the values. ``reporter``: takes them. ``sections``: what parts of the node add. ``verdict``: what is
  known of the network around it, in a word.
- ``lines``: the status socket's language. ``http`` and ``metrics``: what Prometheus asks for. ``outlets``: opens both.
"""
