"""A certificate for the TLS peers, made for each run and gone with it."""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import ipaddress
import os
import pathlib
import tempfile
from collections.abc import Iterator

__all__ = ["certificate"]


@contextlib.contextmanager
def certificate() -> Iterator[tuple[str, str]]:
    """
    Files with a certificate for 127.0.0.1, its own authority, and its key (P-256, the quickest that is common).

    Both are empty names if the module ``cryptography`` is absent: the TLS peers are then left out.
    """
    if importlib.util.find_spec("cryptography") is None:
        yield "", ""
        return
    with tempfile.TemporaryDirectory(prefix="crust-bench-") as folder:
        chain, key = pathlib.Path(folder, "certificate.pem"), pathlib.Path(folder, "key.pem")
        chain_text, key_text = _make()
        chain.write_bytes(chain_text)
        with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key_text)
        yield str(chain), str(key)


def _make() -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "crust benchmark")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.datetime.now(datetime.timezone.utc)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    unencrypted = serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unencrypted)
    return built.public_bytes(serialization.Encoding.PEM), secret
