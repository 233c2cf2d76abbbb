"""Makes a repository with python-tuf, as somebody else would have, and the private key that signs all of it.

usage: python_tuf_repository.py DIR KEY.pem [--inconsistent] [--odd-keyid]

DIR gets metadata/ and targets/ with one target, app.txt ("hello\\n"), versions 3 of targets, snapshot and
timestamp, and an unknown member in targets. KEY.pem is PKCS#8. With --inconsistent there are no version
prefixes; with --odd-keyid the keyid is not the hash of the key.
"""

import hashlib
import os
import sys
from datetime import datetime, timedelta, timezone

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

directory, key_file, *flags = sys.argv[1:]
consistent = "--inconsistent" not in flags

private = Ed25519PrivateKey.generate()
pem = private.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
with open(os.open(key_file, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
    file.write(pem)
signer = CryptoSigner(private)
if "--odd-keyid" in flags:
    signer.public_key.keyid = "0" * 64

os.makedirs(os.path.join(directory, "metadata"))
os.makedirs(os.path.join(directory, "targets"))
expires = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=20)
content = b"hello\n"

root = Root(expires=expires, consistent_snapshot=consistent)
for role in ["root", "timestamp", "snapshot", "targets"]:
    root.add_key(signer.public_key, role)
targets = Targets(version=3, expires=expires, unrecognized_fields={"x-note": {"kept": [1, "é", None]}})
target = TargetFile.from_data("app.txt", content, ["sha256"])
target.unrecognized_fields["custom"] = {"by": "python"}
targets.targets["app.txt"] = target
snapshot = Snapshot(version=3, expires=expires, meta={"targets.json": MetaFile(3)})
timestamp = Timestamp(version=3, expires=expires, snapshot_meta=MetaFile(3))

prefix = f"{hashlib.sha256(content).hexdigest()}." if consistent else ""
with open(os.path.join(directory, "targets", f"{prefix}app.txt"), "wb") as file:
    file.write(content)
version = "3." if consistent else ""
files = {"1.root": root, f"{version}targets": targets, f"{version}snapshot": snapshot, "timestamp": timestamp}
for name, signed in files.items():
    metadata = Metadata(signed)
    metadata.sign(signer)
    metadata.to_file(os.path.join(directory, "metadata", f"{name}.json"))
