"""
Who is not let in.

``bans``: what :meth:`crust.Service.ban` does: the lists, everything that ends at once, the status. ``kept``: bans that
outlive the node, in a file; ``form``: its text.
"""
