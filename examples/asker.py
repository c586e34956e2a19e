"""Questions and answers over crust, from any number of threads or greenlets. Used by the web and task recipes."""

import concurrent.futures
import itertools

import crust


class Asker:
    """
    A node that asks one peer. Make one in each process, after the fork: `crust.ProcessLocal` does.

    A question is sent as ``<number> <text>``; the answer comes back with the same number, so that two threads that ask
    at the same time each get their own.
    """

    def __init__(self, contact: str, config: crust.Config | None = None) -> None:
        self._contact = contact
        self._numbers = itertools.count(1)
        self._waiting: dict[bytes, concurrent.futures.Future[bytes]] = {}
        self.node = crust.Service(config or crust.Config.from_dict({"listen": {"addresses": []}}))  # it only calls
        self.node.on(crust.NewMessage, self._answered)
        self.node.on(crust.LostPeer, self._lost)
        self.node.start()
        self.close = self.node.close

    def ask(self, text: str, timeout: float = 10.0) -> str:
        """The peer's answer; a ``crust.CrustError`` or ``TimeoutError`` if there is none."""
        number = b"%d" % next(self._numbers)
        answer = self._waiting[number] = concurrent.futures.Future()
        try:
            peer = self.node.connect(self._contact, timeout=timeout)  # the session that there is, or a new one
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
