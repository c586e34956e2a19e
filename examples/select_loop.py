"""
A program with a select loop of its own, here an old UDP service: crust is one more descriptor in its loop.

    python select_loop.py CONTACT        answers datagrams with what the peer says to them
"""

import select
import socket
import sys

import crust


def main() -> None:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    asked: dict[int, object] = {}  # who sent which question
    number = 0
    config = crust.Config.from_dict({"listen": {"addresses": []}})
    with crust.Service(config) as node, node.events(crust.NewMessage, crust.LostPeer) as events:
        peer = node.connect(sys.argv[1], timeout=20)
        print(udp.getsockname()[1], flush=True)
        while True:
            readable, _, _ = select.select([udp, events], [], [])  # an EventStream has a fileno()
            if udp in readable:
                data, address = udp.recvfrom(65_536)
                number += 1
                asked[number] = address
                peer.send(b"%d %s" % (number, data), timeout=0)  # a loop must not wait: WouldBlock if there is no room
            if events in readable:
                event = events.get(timeout=0)
                if isinstance(event, crust.LostPeer):
                    sys.exit(f"lost the peer: {event.reason}")
                which, _, text = event.data.partition(b" ")
                udp.sendto(text, asked.pop(int(which)))


if __name__ == "__main__":
    main()
