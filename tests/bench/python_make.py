"""Makes a large repository with python-tuf, as somebody else would have.

usage: python_make.py DIR KEY.pem COUNT [BINS]

DIR gets metadata/ and an empty targets/; COUNT targets by name, in targets itself or in BINS succinct bins. KEY.pem
(PKCS#8, Ed25519) signs all of it. No target file is there: nothing of what is measured reads one.
"""

import hashlib
import os
import sys
from datetime import datetime, timedelta, timezone

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    Delegations, Metadata, MetaFile, Root, Snapshot, SuccinctRoles, TargetFile, Targets, Timestamp,
)

directory, key_file, count, *bins = sys.argv[1:]
private = Ed25519PrivateKey.generate()
pem = private.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
with open(os.open(key_file, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
    file.write(pem)
signer = CryptoSigner(private)
key = signer.public_key
metadata_dir = os.path.join(directory, "metadata")
os.makedirs(metadata_dir)
os.makedirs(os.path.join(directory, "targets"))
expires = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=80)
soon = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=1)

root = Root(expires=expires, consistent_snapshot=True)
for role in ["root", "timestamp", "snapshot", "targets"]:
    root.add_key(key, role)
targets = Targets(expires=expires)
roles = {"targets": targets}
succinct = None
if bins:
    bits = int(bins[0]).bit_length() - 1
    succinct = SuccinctRoles([key.keyid], 1, bits, "bin")
    targets.delegations = Delegations({key.keyid: key}, succinct_roles=succinct)
    for name in succinct.get_roles():
        roles[name] = Targets(expires=expires)
for number in range(int(count)):
    path = f"packages/project-{number // 100:04}/file-{number:06}-1.0.tar.gz"
    digest = hashlib.sha256(path.encode()).hexdigest()
    role = succinct.get_role_for_target(path) if succinct else "targets"
    roles[role].targets[path] = TargetFile(1000 + number, {"sha256": digest}, path)
meta = {f"{name}.json": MetaFile(1) for name in roles}
files = {"1.root": root, **{f"1.{name}": role for name, role in roles.items()}}
files["1.snapshot"] = Snapshot(expires=soon + timedelta(days=6), meta=meta)
files["timestamp"] = Timestamp(expires=soon, snapshot_meta=MetaFile(1))
for name, signed in files.items():
    metadata = Metadata(signed)
    metadata.sign(signer)
    metadata.to_file(os.path.join(metadata_dir, f"{name}.json"))
