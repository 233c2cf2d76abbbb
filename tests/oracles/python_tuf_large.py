"""Makes large repositories with python-tuf, as somebody else would have, each with the private key that signs all of it.

usage: python_tuf_large.py DIR COUNT KIND...

A KIND is "plain" (all targets in the top role), "hashed=BINS" (bins by path_hash_prefixes) or "succinct=BINS" (TAP 15).
DIR/KIND gets metadata/ and targets/, DIR/KIND.pem the key (PKCS#8, Ed25519). There are COUNT targets, 0.txt and so on;
the files of the first three are there.
"""

import os
import sys
from datetime import datetime, timedelta, timezone
from hashlib import sha256

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)

directory, count, *kinds = sys.argv[1:]
expires = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=20)


def key(path):
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(pem)
    return CryptoSigner(private)


def delegations(kind, bins, public):
    """What the top role delegates, and which bin a path belongs to."""
    if kind == "succinct":
        roles = SuccinctRoles([public.keyid], 1, bins.bit_length() - 1, "bin")
        return Delegations({public.keyid: public}, succinct_roles=roles), list(roles.get_roles()), roles.get_role_for_target
    digits = len(f"{bins - 1:x}")
    each = 16**digits // bins
    names = [f"bin-{number:0{digits}x}" for number in range(bins)]
    roles = {}
    for number, name in enumerate(names):
        prefixes = [f"{number * each + prefix:0{digits}x}" for prefix in range(each)]
        roles[name] = DelegatedRole(name, [public.keyid], 1, False, path_hash_prefixes=prefixes)
    find = lambda path: names[int(sha256(path.encode()).hexdigest()[:digits], 16) // each]
    return Delegations({public.keyid: public}, roles=roles), names, find


def make(kind, bins):
    folder = os.path.join(directory, kind)
    os.makedirs(os.path.join(folder, "metadata"))
    os.makedirs(os.path.join(folder, "targets"))
    signer = key(os.path.join(directory, f"{kind}.pem"))
    root = Root(expires=expires)
    for role in ["root", "timestamp", "snapshot", "targets"]:
        root.add_key(signer.public_key, role)
    top = Targets(expires=expires)
    listed = {}
    find = lambda path: "targets"
    if kind != "plain":
        top.delegations, names, find = delegations(kind, bins, signer.public_key)
        listed = {name: Targets(expires=expires) for name in names}
    listed["targets"] = top
    for number in range(int(count)):
        path, content = f"{number}.txt", f"text {number}\n".encode()
        hashes = {"sha256": sha256(content).hexdigest()}
        listed[find(path)].targets[path] = TargetFile(len(content), hashes, path)
        if number < 3:
            with open(os.path.join(folder, "targets", f"{hashes['sha256']}.{number}.txt"), "wb") as file:
                file.write(content)

    def publish(name, signed):
        metadata = Metadata(signed)
        metadata.sign(signer)
        text = metadata.to_bytes()
        with open(os.path.join(folder, "metadata", f"{name}.json"), "wb") as file:
            file.write(text)
        # With its length listed, clients read a file that is larger than what they read otherwise.
        return MetaFile(1, len(text))

    publish("1.root", root)
    meta = {f"{name}.json": publish(f"1.{name}", targets) for name, targets in listed.items()}
    snapshot = publish("1.snapshot", Snapshot(expires=expires, meta=meta))
    publish("timestamp", Timestamp(expires=expires, snapshot_meta=snapshot))


for wanted in kinds:
    kind, _, bins = wanted.partition("=")
    make(kind, int(bins or 0))
