"""The least that Django needs; what concerns crust is at the end."""

import os
from pathlib import Path

DEBUG = True
SECRET_KEY = "only for this example"
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "urls"
INSTALLED_APPS = ["peers.apps.PeersConfig"]

CRUST_PEER = os.environ["CRUST_PEER"]
CRUST_CONFIG = {
    "identity": {"file": str(Path(__file__).parent / "site.identity")},  # locked: one process at a time has it
    "listen": {"addresses": []},
}
