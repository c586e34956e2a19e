"""What all commands share: the common options, the configuration they make, and a node that runs with it."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import crust

from .context import Context
from .errors import CommandError, UsageError
from .signals import held
from .status.places import SUFFIX, made_folder

__all__ = [
    "add_common",
    "add_network",
    "add_verbosity",
    "config_file",
    "load_config",
    "parse_seconds",
    "restricted",
    "start_node",
    "user_directory",
    "with_options",
]


def parse_seconds(text: str) -> float:
    """An argument in seconds: a number above 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """``-v`` and ``-q``, before or after the command's name."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=argparse.SUPPRESS,
        help="say more: what the library logs, and a traceback with an error; twice: every detail",
    )
    group.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        default=argparse.SUPPRESS,
        help="show nothing but errors and data",
    )


def add_network(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """The options of a command whose node neither listens nor is known: the file, and which network it is about."""
    group = parser.add_argument_group("node options")
    add = group.add_argument
    add(
        "--config",
        metavar="FILE",
        help="configuration file (default: $CRUST_CONFIG, else ~/.config/crust/crust.yaml)",
    )
    add("--network", metavar="NAME", help="name of the network; nodes of different names refuse each other")
    add(
        "--network-secret-file",
        metavar="FILE",
        help="closed network: only nodes with this secret can talk to us",
    )
    return group


def add_common(parser: argparse.ArgumentParser, *, identity: str) -> None:
    """
    The options of every command that runs a node.

    Args:
        parser: The command's parser.
        identity: Which identity it takes if none is named, for the help text.
    """
    add = add_network(parser).add_argument
    add("--identity", metavar="FILE", help=f"file of this node's key, made if absent (default: {identity})")
    add(
        "--listen",
        metavar="ENDPOINT",
        action="append",
        help="listen here, such as tcp://0.0.0.0:5483 (port 0: any); may be repeated"
        " (default: tcp and utp on every address)",
    )
    add(
        "--contact",
        metavar="CONTACT",
        action="append",
        default=[],
        help="a rendezvous: a node to stay linked to, which introduces others to this one; may be repeated",
    )
    add("--allow-bootstrap", action="store_true", help="let strangers bootstrap from this node")
    add(
        "--only",
        choices=("tcp", "utp"),
        help="use one transport only: listen, dial and bootstrap by nothing else",
    )
    add(
        "--stun",
        metavar="HOST:PORT",
        action="append",
        help="a STUN server, which tells this node under which address the Internet sees it; may be repeated",
    )
    add("--no-beacon", action="store_true", help="neither look for nodes on the LAN nor answer those that do")
    add("--no-portmap", action="store_true", help="do not ask the router to open ports for this node")
    add("--no-relay", action="store_true", help="send no messages through another peer: they wait for another path")
    add("--serve-relay", action="store_true", help="carry messages between peers of this node that have no other path")


def user_directory(environ: Mapping[str, str]) -> Path:
    """The user's directory for crust: ``$XDG_CONFIG_HOME/crust``, else ``~/.config/crust``."""
    base = environ.get("XDG_CONFIG_HOME", "")
    if os.path.isabs(base):  # the XDG base directory specification: relative ones are to be ignored
        return Path(base) / "crust"
    return Path(environ.get("HOME") or os.path.expanduser("~")) / ".config" / "crust"


def config_file(named: str | None, environ: Mapping[str, str]) -> Path | None:
    """The configuration file: the one named, else ``CRUST_CONFIG``, else the user's if there is one, else None."""
    if named is not None:
        return Path(named)
    if environ.get("CRUST_CONFIG"):
        return Path(environ["CRUST_CONFIG"])
    usual = user_directory(environ) / "crust.yaml"
    return usual if usual.exists() else None


def with_options(config: crust.Config, arguments: argparse.Namespace) -> tuple[crust.Config, dict[str, str]]:
    """
    The configuration with the given options on top, and for each key that they set the option.

    Raises:
        UsageError: An option has a value that the configuration does not allow.
    """
    origins: dict[str, str] = {}
    given = vars(arguments).get  # not every command has every option
    for option, key, value in (
        ("--network", "network.name", given("network")),
        ("--network-secret-file", "network.secret_file", given("network_secret_file")),
        ("--identity", "identity.file", given("identity")),
        ("--listen", "listen.addresses", given("listen")),
        ("--allow-bootstrap", "bootstrap.accept", given("allow_bootstrap") or None),
        ("--stun", "nat.stun_servers", given("stun")),
        ("--no-portmap", "nat.port_mapping", () if given("no_portmap") else None),
        ("--no-relay", "relay.use", False if given("no_relay") else None),
        ("--serve-relay", "relay.serve", given("serve_relay") or None),
        ("--no-beacon", "lan.announce", False if given("no_beacon") else None),
        ("--no-beacon", "lan.seek", "never" if given("no_beacon") else None),
    ):
        if value is None:
            continue
        try:
            config = config.replace(**{key: value})
        except crust.ConfigError as error:
            raise UsageError(f"{option}: {error}") from error
        origins[key] = option
    only = given("only")
    if only is not None:
        config = _with_one_transport(config, only, origins)
    return config, origins


def _with_one_transport(config: crust.Config, only: str, origins: dict[str, str]) -> crust.Config:
    """The configuration without what names another transport; contacts that have no address left are left out."""
    contacts = [_restricted(crust.Contact.parse(text), only) for text in config.bootstrap.contacts]
    kept: dict[str, tuple[str, ...]] = {
        "listen.addresses": tuple(a for a in config.listen.addresses if a.startswith(f"{only}://")),
        "listen.advertise": tuple(a for a in config.listen.advertise if a.startswith(f"{only}://")),
        "bootstrap.contacts": tuple(str(contact) for contact in contacts if contact.endpoints),
    }
    before = {key: getattr(getattr(config, section), name) for key in kept for section, name in [key.split(".")]}
    changed = {key: value for key, value in kept.items() if value != before[key]}
    origins.update(dict.fromkeys(changed, "--only"))
    return config.replace(**changed)


def load_config(arguments: argparse.Namespace, environ: Mapping[str, str]) -> crust.Config:
    """
    The configuration of a run: the file, and the options on top. Where the parser has set ``found_on_lan``, the node
    announces itself on the LAN and looks for others there, unless the file says something else.

    Raises:
        crust.ConfigError: The file says something it may not.
        UsageError: An option does.
    """
    path = config_file(arguments.config, environ)
    with held():  # it imports what reads YAML
        config, said = (crust.Config(), {}) if path is None else crust.Config.load_with_origins(path)
    if getattr(arguments, "found_on_lan", False):
        wanted = {"lan.announce": True, "lan.seek": "always"}
        config = config.replace(**{key: value for key, value in wanted.items() if key not in said})
    return with_options(config, arguments)[0]


def restricted(
    to: crust.Contact | crust.ConnectionInfo, only: str | None
) -> crust.Contact | crust.ConnectionInfo:
    """The same without the endpoints that ``--only`` rules out."""
    if only is None:
        return to
    if isinstance(to, crust.ConnectionInfo):
        return crust.ConnectionInfo(_restricted(to.contact, only), to.network_id)
    return _restricted(to, only)


def _restricted(contact: crust.Contact, only: str | None) -> crust.Contact:
    if only is None:
        return contact
    return crust.Contact(contact.peer_id, tuple(e for e in contact.endpoints if e.transport == only))


@dataclasses.dataclass(frozen=True)
class _Plan:
    config: crust.Config
    is_default: bool  # the identity was not named for this run


def _plan(arguments: argparse.Namespace, environ: Mapping[str, str], fresh: bool) -> _Plan:
    config = load_config(arguments, environ)
    if vars(arguments).get("identity") is not None:
        return _Plan(config, False)
    if config.identity.file is None and not fresh:
        config = config.replace(**{"identity.file": str(user_directory(environ) / "identity")})
    return _Plan(config, True)


def start_node(
    arguments: argparse.Namespace,
    context: Context,
    *,
    one_shot: bool = True,
    fresh: bool = False,
    called: bool = True,
    overrides: Mapping[str, object] | None = None,
    prepare: Callable[[crust.Service], object] | None = None,
) -> crust.Service:
    """
    A started node for a command; the command closes it.

    Args:
        arguments: With the options of `add_common`, or of `add_network` alone.
        context: Its terminal is told when the identity is not the expected one.
        one_shot: The command does one thing and ends: if the user's identity is in use, it takes a fresh one.
        fresh: Take a fresh identity unless one is named.
        called: Others are to call it. If it only calls, the router need not open a port.
        overrides: Keys that count whatever file and options say.
        prepare: Called with the node before it starts: callbacks registered there miss no event.

    Raises:
        crust.IdentityInUse: Another process uses the identity that was named.
        crust.CrustError: The configuration, the identity or a listening address cannot be used.
    """
    plan = _plan(arguments, context.environ, fresh)
    if overrides:
        plan = dataclasses.replace(plan, config=plan.config.replace(**overrides))
    if not called:
        plan = dataclasses.replace(plan, config=plan.config.replace(**{"nat.port_mapping": ()}))
    if not getattr(arguments, "no_status", True):
        plan = dataclasses.replace(plan, config=_with_status(plan.config, context))
    given = vars(arguments).get
    contacts = [_restricted(_contact(text, context), given("only")) for text in given("contact", ())]
    try:
        return _started(plan.config, contacts, prepare)
    except crust.IdentityInUse as error:
        if not (one_shot and plan.is_default):
            raise
        why = str(error).split(";")[0]  # behind it stands what to do if this were the end
        context.terminal.say(f"{why}: taking a fresh identity for this run")
    return _started(plan.config.replace(**{"identity.file": None}), contacts, prepare)


def _with_status(config: crust.Config, context: Context) -> crust.Config:
    """With a status socket at the usual place, if none is configured and there can be one: a node runs without, too."""
    if config.status.socket is not None:
        return config
    try:
        folder = made_folder(context.environ)
    except CommandError as error:
        context.terminal.detail(f"no status socket: {error}")
        return config
    return config.replace(**{"status.socket": str(folder / f"{{peer}}{SUFFIX}")})


def _started(
    config: crust.Config, contacts: Iterable[crust.Contact], prepare: Callable[[crust.Service], object] | None
) -> crust.Service:
    node = crust.Service(config, contacts=contacts)
    if prepare is not None:
        prepare(node)
    try:
        with held():
            node.start()
    except BaseException:
        node.close()
        raise
    return node


def _contact(text: str, context: Context) -> crust.Contact:
    found = context.book.resolve(text)
    return found.contact if isinstance(found, crust.ConnectionInfo) else found
