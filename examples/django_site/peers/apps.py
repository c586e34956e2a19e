"""The application that owns the node."""

import os

from asker import Asker
from django.apps import AppConfig
from django.conf import settings

import crust


class PeersConfig(AppConfig):
    """
    `ready` runs in every ``manage.py`` command, and under ``runserver`` in two processes: one watches the files, the
    other serves. So it starts the node only in the one that serves, which Django marks with RUN_MAIN; there messages
    can arrive from the start. Everywhere else the first use starts the node.
    """

    name = "peers"

    def ready(self) -> None:
        config = crust.Config.from_dict(settings.CRUST_CONFIG)
        self.asker = Asker(settings.CRUST_PEER, config)
        if os.environ.get("RUN_MAIN") == "true":
            self.asker.node.get()
