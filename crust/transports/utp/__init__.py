"""
µTP: a stream of bytes over UDP, as in BEP 29.

``definition``  the packet in construct
``packet``      the packet as a value; building and parsing it, with a short way for what is common
``congestion``  how much may be under way: the interface of the two that decide
``fair``        a share of a bottleneck, as TCP takes it: CUBIC
``background``  what others leave of it: LEDBAT++
``delay``       queues, measured with two clocks
"""
