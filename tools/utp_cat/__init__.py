"""
What ``tools/utp-cat`` runs: bytes between standard input and output and a peer, over plain µTP.

``copying``  one direction on a thread of its own, the other on the caller's
``command``  options, the connection, exit codes
"""
