"""Makes and signs the next root of a repository, as a stranger with python-tuf does.

usage: strangers_root.py next REPOSITORY FILE [--placeholders] KEY.pem...
       strangers_root.py sign FILE KEY.pem...

`next` writes root N+1 of REPOSITORY/metadata to FILE, with a new expiry, signed with the keys; with --placeholders
there are empty signatures for all other keys of the role, as tuf-on-ci leaves them. `sign` adds signatures to FILE.
"""

import os
import sys
from datetime import datetime, timedelta, timezone

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, Signature
from tuf.api.metadata import Metadata
from tuf.api.serialization.json import JSONSerializer


def sign(metadata, files):
    root = metadata.signed
    for name in files:
        with open(name, "rb") as file:
            private = load_pem_private_key(file.read(), None)
        mine = CryptoSigner(private).public_key.keyval["public"]
        for key in root.keys.values():
            if key.keyval["public"] == mine:
                metadata.sign(CryptoSigner(private, key), append=True)


def main():
    command, *rest = sys.argv[1:]
    if command == "sign":
        file, *keys = rest
        metadata = Metadata.from_file(file)
    else:
        repository, file, *keys = rest
        folder = os.path.join(repository, "metadata")
        newest = max(int(name.partition(".")[0]) for name in os.listdir(folder) if name.endswith(".root.json"))
        metadata = Metadata.from_file(os.path.join(folder, f"{newest}.root.json"))
        metadata.signatures.clear()
        metadata.signed.version += 1
        metadata.signed.expires = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=200)
    if "--placeholders" in keys:
        keys.remove("--placeholders")
        for keyid in metadata.signed.roles["root"].keyids:
            metadata.signatures[keyid] = Signature(keyid, "")
    sign(metadata, keys)
    metadata.to_file(file, JSONSerializer(compact=False))


main()
