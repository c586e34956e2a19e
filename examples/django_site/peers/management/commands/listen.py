"""The process of the site that others call: ``python manage.py listen``, beside the web server."""

import signal

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import close_old_connections

import crust


class Command(BaseCommand):
    help = "Answer peers, until Ctrl-C or SIGTERM."

    def handle(self, *args: object, **options: object) -> None:
        node = crust.Service(crust.Config.from_dict(settings.CRUST_LISTEN))
        node.on(crust.NewMessage, self.received)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: peers hear goodbye
        with node:
            self.stdout.write(str(node.contact))
            self.stdout.flush()
            try:
                node.wait()
            except KeyboardInterrupt:
                pass

    def received(self, message: crust.NewMessage) -> None:
        """On the node's own thread: what Django does around a request is to be done by hand."""
        close_old_connections()
        try:
            message.peer.send(answer(str(message.peer.id), message.data), timeout=0)
        finally:
            close_old_connections()


def answer(who: str, question: bytes) -> bytes:
    """Yours: models, the cache, mail; as in a view. Who asks is proven."""
    return question.upper()
