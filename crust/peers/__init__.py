"""
One remote identity, many ways to it.

Who may come:       ``gate`` (who may begin), ``access`` (bans, allow-lists), ``acceptor`` (inbound links until they
                    carry a session), ``brake`` (those that are not read while memory is full)
Reaching a peer:    ``dialer`` (outbound links; ``dialer_host``: what it needs), ``efforts`` and ``effort`` (what is
                    under way for whom), ``race`` (which address when), ``paths`` (which way is better), ``attempts``
                    and ``failures`` (what was tried, and why in vain), ``meeting`` (both ends have called on one
                    connection), ``circuits/`` (through another peer)
The session:        ``link`` (one encrypted stream), ``lanes``, ``outbox``, ``filler`` and ``inbox`` (numbers, credit,
                    priorities), ``session`` (their sans-IO whole), ``conversation`` and ``sending`` (the same with
                    threads; ``host``: what they need), ``registry`` (which sessions there are, and by what rules),
                    ``detached`` (those that wait for a link)
For applications:   ``peer``, ``messages``, ``echoes`` (a peer tries whether strangers reach us)
Files:              ``transfer`` (sans-IO), ``upload`` and ``download`` (disk), ``files`` (all of a node's),
                    ``file_contract`` (what they need and show)
"""
