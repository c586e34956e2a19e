"""
The other side of every recipe here, on the second machine: answers each message with its text in capitals.

    python answer.py [tcp://0.0.0.0:5483]        prints its contact: give it to the asking side
"""

import sys

import crust


def main() -> None:
    config = crust.Config.from_dict(
        {
            "identity": {"file": "answer.identity"},  # made at the first start: the contact stays the same
            "listen": {"addresses": [sys.argv[1] if len(sys.argv) > 1 else "tcp://0.0.0.0:5483"]},
        }
    )
    node = crust.Service(config)

    @node.on(crust.NewMessage)
    def answer(message: crust.NewMessage) -> None:
        message.peer.send(message.data.upper())  # under heavy load: the echo of docs/threads.md

    with node:
        print(node.contact, flush=True)
        try:
            node.wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
