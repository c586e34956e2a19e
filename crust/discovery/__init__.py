"""
What is known of other nodes, and who else is there. Nothing here dials: it yields addresses, and takes news.
"""
