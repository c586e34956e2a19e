"""
Start it on two machines of one LAN, or twice on one: each finds the other and says hello.

Two nodes with the default configuration do not see each other; one line makes them.
"""

import sys

import crust


def main() -> None:
    with crust.Service() as node:

        @node.on(crust.PeerDiscovered)
        def discovered(event: crust.PeerDiscovered) -> None:
            if event.contact.peer_id > node.id:  # one of the two is enough
                node.dial(event.contact)

        @node.on(crust.ConnectSuccess)
        def connected(event: crust.ConnectSuccess) -> None:
            event.peer.send(b"hello")

        @node.on(crust.NewMessage)
        def heard(message: crust.NewMessage) -> None:
            print(f"{message.peer.id.short} says {message.data.decode()}", flush=True)

        node.start_service_discovery()  # the one line: answer those who ask the LAN who is there, and ask
        node.wait()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
