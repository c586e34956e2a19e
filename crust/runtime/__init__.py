"""
Threads, clocks and wakers: the only row that makes them.

``threads``        spawn, deadlines, wakers, the check of gevent's monkey patching, what fork left behind
``clock``          where a node gets its time from, and what its threads wait with
``timers``         a heap of timers that never reads a clock; ``alarm``: one timer, moved as its owner's next time moves
``flusher``        the one thread of a node that runs timers and writes what could not be written at once
``beginning``      greenlets that an interrupt strikes before they have begun
``native``         real threads for calls into C that block
``serial``         what many threads bring, done one at a time by threads that are there anyhow
``waiting``        waits that an interrupt may end at any moment
``selector_loop``  a thread's wait for sockets, which others can end: ``network_news``, ``local_server``, the beacon's
``dispatcher``     the one thread of a node that runs the application's callbacks
``budget``         how many bytes all peers together may keep in memory
``rates``          how often something may happen: token buckets
``descriptors``    running out of them
``interfaces``     the addresses of this machine
``files``          files that are whole or not there: ``identity_file``, ``shared_file``, in a ``state_folder``
``local_socket``   a Unix socket for the programs of one user
``logs``           log records of input and output threads, handled on the dispatcher

Everything here is the plain standard library, looked up when it is used: when the application has
monkey-patched it with gevent, every thread is a greenlet, and no other row knows the difference.
"""
