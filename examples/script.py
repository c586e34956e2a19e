"""
A plain script: reach a node by its contact, send it a message, print the answer.

    python script.py CONTACT hello
"""

import sys

import crust


def main() -> None:
    contact, text = sys.argv[1:]
    config = crust.Config.from_dict({"listen": {"addresses": []}})  # it only calls, nobody calls it
    try:
        with crust.Service(config) as node:
            peer = node.connect(contact, timeout=20)
            peer.send(text.encode())
            print(peer.recv(timeout=20).decode())
    except crust.CrustError as error:
        sys.exit(f"no answer: {error}")


if __name__ == "__main__":
    main()
