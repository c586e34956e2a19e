"""
One remote identity, many ways to it.

Who may come:       ``gate`` (who may begin), ``access`` (bans, allow-lists), ``acceptor`` (inbound links until they
                    carry a session), ``judging`` (bans by function), ``views`` (what such a function sees), ``brake``
                    (those that are not read while memory is full, or their peer costs too much), ``unfinished``
                    (which of them have begun more than there is room for)
What they may do:   ``accounts`` and ``meter`` (what a peer costs), ``splitting`` (streams in tiny packets), ``purses``
                    (what all at one address may), ``misdeeds`` (what is told, and what comes of it), ``refusals``
                    (every limit, and how often it has bitten), ``whereabouts`` (how many are where), ``shares`` (what
                    those at one address may have)
Reaching a peer:    ``dialer`` (outbound links; ``dialer_host``: what it needs), ``efforts`` and ``effort`` (what is
                    under way for whom), ``pursuits`` (for sessions that stand), ``race`` (which address when),
                    ``paths`` (which way is better), ``attempts`` and ``failures`` (what was tried, and why in vain),
                    ``meeting`` (both ends have called on one connection), ``knocks`` (is somebody there?),
                    ``circuits/`` (through another peer)
The session:        ``link`` (one encrypted stream; ``link_owner``: what it asks of who made it), ``scratches``
                    (buffers for its records), ``lanes``, ``outbox``, ``filler`` and ``inbox`` (numbers, credit,
                    priorities), ``forbearance`` (how long a link may bring nothing), ``session`` (their sans-IO whole),
                    ``conversation`` and ``sending`` (the same with threads; ``host``: what they need), ``registry``
                    (which sessions there are, and by what rules; ``registry_host``: what it needs), ``agreed`` (those
                    that may begin), ``detached`` (those that wait for a link), ``answers`` (to callers that get none),
                    ``farewell`` (its end), ``holding`` (what it holds of the memory for messages), ``signing`` and
                    ``verifying`` (messages that are proof)
For applications:   ``peer``, ``messages``, ``echoes`` (a peer tries whether strangers reach us)
Files:              ``transfer`` (sans-IO), ``upload`` and ``download`` (disk), ``files`` (all of a node's),
                    ``exchange`` (one peer's), ``file_contract`` (what they need and show)
"""
