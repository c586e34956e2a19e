"""
Circuits: streams to a peer through another peer, the introducer, that both have a link with.

Sans-IO:       ``flow`` (credit of one direction), ``book`` (what is lent to whom), ``words`` (why one ended)
One link:      ``legs`` (its circuits by number), ``freight`` (what it carries when its session has nothing to say)
The two ends:  ``connection`` (a circuit as a transport's connection), ``dialling`` (how a caller comes by one)
In between:    ``relayed`` (a circuit that we carry), ``introducing`` (when and for whom we do)
Of a node:     ``introducers`` (through whom others are reached), ``roomier`` (from one that carries no messages to
               another), ``circuits`` (the whole)
"""
