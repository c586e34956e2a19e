"""
The configuration of a running node, read again: when its file says something else, or somebody asks.

- ``merging``: what of a new configuration can count at once. ``applying``: it does.
- ``watch``: when a file says something else. ``reloading``: the whole, with its thread.
"""
