"""
libtorrent with one torrent on a port of loopback: a program, since it has threads of its own that no patching reaches.

    python libtorrent_child.py TORRENT FOLDER TRANSPORT

It says what happens as JSON, one object a line, and takes ``connect HOST PORT`` as commands; it ends with its input.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import libtorrent


def main(torrent: str, folder: str, transport: str) -> int:
    session = libtorrent.session(settings(transport))
    parameters = libtorrent.load_torrent_file(torrent)
    parameters.save_path = folder
    parameters.flags &= ~(libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused)
    handle = session.add_torrent(parameters)
    ended = threading.Event()
    threading.Thread(target=obey, args=(handle, ended), daemon=True).start()
    while not ended.is_set():
        session.wait_for_alert(50)
        for alert in session.pop_alerts():
            said = describe(alert)
            if said is not None:
                sys.stdout.write(json.dumps(said) + "\n")
                sys.stdout.flush()
    return 0


def settings(transport: str) -> dict[str, Any]:
    """One transport, plain text, no search for peers, no limit that a test would meet."""
    chosen = {f"enable_{way}_{name}": name == transport for way in ("incoming", "outgoing") for name in ("tcp", "utp")}
    silent = {f"enable_{name}": False for name in ("dht", "lsd", "upnp", "natpmp")}
    return {
        **chosen,
        **silent,
        "listen_interfaces": "127.0.0.1:0",
        "in_enc_policy": int(libtorrent.enc_policy.disabled),
        "out_enc_policy": int(libtorrent.enc_policy.disabled),
        "allow_multiple_connections_per_ip": True,
        "utp_num_resends": 10,  # of one packet before it gives up: of the usual 3 a hundredth is lost too soon
        "alert_mask": int(libtorrent.alert.category_t.all_categories),
    }


def obey(handle: Any, ended: threading.Event) -> None:
    for line in sys.stdin:
        _, host, port = line.split()
        handle.connect_peer((host, int(port)))
    ended.set()


def describe(alert: Any) -> dict[str, Any] | None:
    """What the tests want to know of it."""
    name = type(alert).__name__.removesuffix("_alert")
    if name == "listen_succeeded":
        return {"event": name, "port": alert.port, "kind": str(alert.socket_type)}
    if name == "peer_log" and "CONNECTION" in alert.message():
        return {"event": name, "text": alert.message()}
    if name in {"torrent_checked", "torrent_finished", "peer_disconnected", "peer_error", "hash_failed", "file_error"}:
        return {"event": name, "text": alert.message()}
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
