"""
The beacon: who else is on the links of this machine.

Who looks for others sends a sealed query to all of a link; who wants to be found answers it, to the asker alone.
``packet`` has the bytes, ``seeker`` and ``announcer`` decide (without I/O), ``driver`` has the sockets and the thread;
``screen`` is what the kernel keeps from them.
"""
