"""
``punch-test listen`` and ``punch-test connect``: two people find out how their machines reach each other.

::

    words      every method, verdict and path in plain words: the one table
    meeting    what a test found: its values, and their form on the wire, which the other end may have made up
    verdict    what it means: outcome, grade, why nothing better, what would help
    messages   what the two programs say to each other in the session that they test
    talk       the same on a peer: requests, answers, loads of bytes
    measure    round trip and throughput of one path
    ends       a node for a test: rendezvous, what it knows of its network
    watch      what happens, live: lines for people, JSON for programs
    connect    the end that calls, and leads the test
    listen     the end that is called, by one after the other
    outcome    the end of a test: shown, written, the exit code
    rows       what was found, for text and page
    text       the result for a terminal        page  the same as one HTML file        document  the same as JSON
"""
