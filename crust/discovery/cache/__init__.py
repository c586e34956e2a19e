"""
Nodes that were reached before, for the next start.

``core``  which there are, in which order, and which to look at next (sans-IO)
``form``  the text of the file (sans-IO)
``file``  the file, which several processes may share
"""
