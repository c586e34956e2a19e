"""
From a relay circuit to the best path that the networks allow.

traversals  all of a node: who hears of what
traversal   one session's: generations of attempts, what the two ends tell each other, and which methods run
search      searches of a node take turns: two at once would spoil each other's predictions
schedule    when a path that could be better is tried to be bettered
allowances  what may be sent to addresses that a peer names, remembered over its sessions
expected    who may begin many connections: whoever looks for a path with us
places      where peers are, and who of them goes first where not all can
rests       searches that were in vain are not repeated soon
hands       what a node gives the runners of methods: sockets, ports, a place for winners
ground      its listeners, and servers that tell how routers translate them
direct      dials from fresh ports: whoever answers those takes strangers
"""
