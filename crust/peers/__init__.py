"""
One remote identity, many ways to it.

Before a session:   ``gate`` (who may begin), ``access`` (bans, allow-lists), ``acceptor`` and ``dialer`` (inbound and
                    outbound links until they carry one), ``link`` (one encrypted stream)
The session:        ``outbox`` and ``inbox`` (numbers, credit, priorities), ``session`` (their sans-IO whole),
                    ``conversation`` (the same with threads), ``registry`` (which sessions there are, and by what rules)
For applications:   ``peer``, ``messages``
Files:              ``transfer`` (sans-IO), ``upload`` and ``download`` (disk), ``files`` (all of a node's),
                    ``file_contract`` (what they need and show)
"""
