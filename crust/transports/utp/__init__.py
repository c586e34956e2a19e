"""
µTP: a stream of bytes over UDP, as in BEP 29. docs/utp.md explains it to those who know TCP.

On the wire:

``definition``      the packet in construct
``packet``          the packet as a value; building and parsing it, with a short way for what is common
``burst``           datagrams as they are handed to the kernel

One connection, without sockets, clocks or threads:

``connection``      the state machine over all that follows
``states``          its states, as a table
``settings``        what it is made with
``opening``         when a SYN is sent, and sent again
``sender``          what waits, what is under way, what was lost
``receiver``        packets into a stream; acknowledgements and the window out of it
``reserve``         what all connections may keep of streams that nobody takes yet
``retransmission``  when to send again what was not acknowledged
``rtt``             round trips
``mtu``             how large a packet the path takes
``pacing``          when the next packets may go
``peer_window``     what the other side has room for
``freshness``       duplicates from before the numbers went round
``noise``           packets of no use, and what becomes of a connection that brings many
``patience``        how many of those all at one address may bring
``events``          what a connection tells tools and tests

How much may be under way:

``congestion``      the interface of the two that decide
``fair``            a share of a bottleneck, as TCP takes it: CUBIC
``background``      what others leave of it: LEDBAT++
``window``          what both have: a window, and the size of a packet
``delay``           queues, measured with two clocks

With sockets:

``stream``          a connection on a hub, behind the contract of all transports
``transport``       what a node has opened; ``dialling``: one attempt to connect; ``listener``: answering callers
``callers``         who has called and not shown yet to be where he says
"""
