"""Does with python-tuf what `tufctl sign` does after one target changed: reads the repository, changes the target, signs
the role, snapshot and timestamp, writes them.

usage: python_sign.py DIR KEY.pem TARGET FILE
"""

import glob
import os
import sys
from datetime import datetime, timedelta, timezone

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, TargetFile

directory, key_file, path, content = sys.argv[1:]
folder = os.path.join(directory, "metadata")
with open(key_file, "rb") as file:
    signer = CryptoSigner(load_pem_private_key(file.read(), None))
now = datetime.now(timezone.utc).replace(microsecond=0)


def newest(role):
    names = glob.glob(os.path.join(folder, f"*.{role}.json"))
    return max(names, key=lambda name: int(os.path.basename(name).split(".")[0]))


def write(role, metadata, days):
    metadata.signed.version += 1
    metadata.signed.expires = now + timedelta(days=days)
    metadata.sign(signer)
    prefix = "" if role == "timestamp" else f"{metadata.signed.version}."
    name = os.path.join(folder, f"{prefix}{role}.json")
    metadata.to_file(f"{name}.new")
    with open(f"{name}.new", "rb") as file:
        os.fsync(file.fileno())
    os.rename(f"{name}.new", name)


timestamp = Metadata.from_file(os.path.join(folder, "timestamp.json"))
snapshot = Metadata.from_file(newest("snapshot"))
role = "targets"
targets = Metadata.from_file(newest(role))
delegations = targets.signed.delegations
if delegations and delegations.succinct_roles:
    role = delegations.succinct_roles.get_role_for_target(path)
    targets = Metadata.from_file(newest(role))
targets.signed.targets[path] = TargetFile.from_file(path, content, ["sha256"])
write(role, targets, 80)
snapshot.signed.meta[f"{role}.json"].version = targets.signed.version
write("snapshot", snapshot, 7)
timestamp.signed.snapshot_meta.version = snapshot.signed.version
write("timestamp", timestamp, 1)
