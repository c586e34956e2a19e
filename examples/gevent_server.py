"""
A gevent server: patch first, then import; crust runs on greenlets by itself.

    CRUST_PEER=CONTACT python gevent_server.py [PORT]
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

from asker import Asker  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402

import crust  # noqa: E402


def main() -> None:
    asker = Asker(os.environ["CRUST_PEER"])
    asker.node.get()  # starts it; else the first request would

    def application(environ, start_response):
        """One greenlet a request; all of them may wait for their answers at the same time."""
        status, headers = "200 OK", [("Content-Type", "application/json")]
        try:
            text = environ["PATH_INFO"].rpartition("/")[2]
            found = {"answer": asker.ask(text), "node": str(asker.node.get().id), "pid": os.getpid()}
        except (crust.CrustError, TimeoutError) as error:
            status, found = "502 Bad Gateway", {"error": str(error)}
        start_response(status, headers)
        return [json.dumps(found).encode()]

    server = WSGIServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000), application, log=None)
    server.start()
    print(f"http://127.0.0.1:{server.server_port}/ask/hello", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
