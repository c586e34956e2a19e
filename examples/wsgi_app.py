"""
A WSGI application for gunicorn, in any of its ways of working; gunicorn_conf.py has the hooks.

    CRUST_PEER=CONTACT gunicorn -c gunicorn_conf.py [--preload] wsgi_app:app
    CRUST_PEER=CONTACT gunicorn -c gunicorn_gevent_conf.py [--preload] wsgi_app:app
"""

import json
import os

from asker import Asker

import crust

asker = Asker(os.environ["CRUST_PEER"])  # no node yet: with --preload this runs in the master


def app(environ, start_response):
    status, headers = "200 OK", [("Content-Type", "application/json")]
    try:
        text = environ["PATH_INFO"].rpartition("/")[2]
        found = {"answer": asker.ask(text), "node": str(asker.node.get().id), "pid": os.getpid()}
    except (crust.CrustError, TimeoutError) as error:
        status, found = "502 Bad Gateway", {"error": str(error)}
    start_response(status, headers)
    return [json.dumps(found).encode()]
