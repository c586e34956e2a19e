"""
µTP: a stream of bytes over UDP, as in BEP 29.

``definition``  the packet in construct
``packet``      the packet as a value; building and parsing it, with a short way for what is common
"""
