"""The kernel's word that the network has changed: what a node says of its addresses follows at once."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from tests.natlab.lab import Lab
from tests.support.source import ROOT
from tests.support.waiting import eventually

NODE = str(ROOT / "tests" / "natlab" / "mapping_node.py")
NOTICED = 2.0  # seconds


@pytest.mark.parametrize("patched", [(), ("-m", "gevent.monkey")], ids=["threads", "greenlets"])
def test_another_address(lab: Lab, tmp_path: Path, patched: tuple[str, ...]) -> None:
    """An address goes and another comes: the node tells the new one, and no longer the old, within two seconds."""
    here = lab.host("a")
    options = json.dumps({"home": str(tmp_path), "config": {"nat.port_mapping": []}})
    with here.start(sys.executable, *patched, NODE, options) as program:
        program.wait_for('"kind": "started"')

        def told() -> str:
            """The addresses that it has told last."""
            return [line for line in list(program.output) if '"kind": "addresses"' in line][-1]

        for _ in range(2):
            old = here.ipv4
            assert old in told()
            here.renumber()
            changed = time.monotonic()
            assert eventually(lambda: here.ipv4 in told(), 10.0), "".join(program.output)
            assert time.monotonic() - changed < NOTICED
            assert f"//{old}:" not in told()
        assert program.stop() == 0
