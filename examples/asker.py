"""Questions and answers over crust, from any number of threads or greenlets. Used by the web and task recipes."""

import concurrent.futures
import itertools

import crust


class Asker:
    """
    Asks one peer, through a node that each process makes when it needs it: so a module may make an `Asker` at import,
    also in a server that forks its workers afterwards.

    A question is sent as ``<number> <text>``; the answer comes back with the same number, so that two threads that ask
    at the same time each get their own.
    """

    def __init__(self, contact: str, config: crust.Config | None = None) -> None:
        self._contact = contact
        self._config = config or crust.Config.from_dict({"listen": {"addresses": []}})  # it only calls
        self._numbers = itertools.count(1)
        self._waiting: dict[bytes, concurrent.futures.Future[bytes]] = {}
        self.node = crust.ProcessLocal(self._make)

    def _make(self) -> crust.Service:
        node = crust.Service(self._config)
        node.on(crust.NewMessage, self._answered)
        node.on(crust.LostPeer, self._lost)
        return node

    def ask(self, text: str, timeout: float = 10.0) -> str:
        """The peer's answer; a ``crust.CrustError`` or ``TimeoutError`` if there is none."""
        number = b"%d" % next(self._numbers)
        answer = self._waiting[number] = concurrent.futures.Future()
        try:
            peer = self.node.get().connect(self._contact, timeout=timeout)  # the session that there is, or a new one
            peer.send(number + b" " + text.encode(), timeout=timeout)
            return answer.result(timeout).decode()
        finally:
            self._waiting.pop(number, None)

    def _answered(self, message: crust.NewMessage) -> None:
        number, _, text = message.data.partition(b" ")
        if (waiting := self._waiting.pop(number, None)) is not None:  # else nobody waits any more
            waiting.set_result(text)

    def _lost(self, event: crust.LostPeer) -> None:
        for number in list(self._waiting):
            if (waiting := self._waiting.pop(number, None)) is not None:
                waiting.set_exception(crust.PeerLost("the peer went before it answered", event.reason))
