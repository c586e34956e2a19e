"""
Any number of gunicorn workers on one identity: one ``crust node --control``, and in each worker a client of it.

    crust node --control /run/crust/control --identity web.identity
    CRUST_PEER=CONTACT CRUST_CONTROL=/run/crust/control gunicorn -w 4 [--threads 8] shared_app:app
"""

import json
import os
import threading

from control_client import SharedNode

_lock = threading.Lock()
_mine: SharedNode | None = None


def shared() -> SharedNode:
    """This worker's connection, made when first used, so after the fork; and anew if the node was restarted."""
    global _mine
    with _lock:
        if _mine is None or not _mine.alive:
            _mine = SharedNode(os.environ["CRUST_CONTROL"])
        return _mine


def ask(text: str) -> str:
    try:
        return shared().ask(os.environ["CRUST_PEER"], text)
    except ConnectionError:  # the node has ended; another one may be there already
        return shared().ask(os.environ["CRUST_PEER"], text)


def app(environ, start_response):
    text = environ["PATH_INFO"].rpartition("/")[2]
    found = {
        "answer": ask(text),
        "node": shared().command("info")["peer"],  # the same in every worker
        "pid": os.getpid(),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(found).encode()]
