"""The least that Django needs; what concerns crust is at the end."""

import os
from pathlib import Path

DEBUG = True
SECRET_KEY = "only for this example"
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "urls"
INSTALLED_APPS = ["peers.apps.PeersConfig"]

CRUST_PEER = os.environ.get("CRUST_PEER", "")  # the contact of the node to ask
CRUST_CONFIG = {
    "identity": {"file": str(Path(__file__).parent / "site.identity")},  # locked: one process at a time has it
    "listen": {"addresses": []},
}
CRUST_LISTEN = {  # for `manage.py listen`
    "identity": {"file": str(Path(__file__).parent / "listen.identity")},
    "listen": {"addresses": [os.environ.get("CRUST_LISTEN", "tcp://0.0.0.0:5483")]},
}
