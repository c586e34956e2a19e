"""
Every number that crust depends on, in one place.

Two kinds: what the wire format or a standard fixes (changing it breaks interoperation), and what we chose (it may be
tuned). What an application may set is in ``crust.config``; its defaults are taken from here. Units are in the comments:
seconds, bytes, counts. Each is read as ``limits.NAME``, wherever it stands:

- ``wire``: what the wire format fixes. ``utp``: µTP.
- ``sessions``: sessions, links, transports, threads, events, files. ``protection``: before authentication.
- ``traversal``: ways through translators. ``finding``: finding peers, and keeping them.
- ``status``: what looks at a node. ``bans``: who is not let in.
"""

from __future__ import annotations

from .bans import *
from .finding import *
from .protection import *
from .sessions import *
from .status import *
from .traversal import *
from .utp import *
from .wire import *
