"""Makes a repository whose keys are of the types that few tools have, and gives the private keys of its online roles.

usage: python_key_types.py DIR

Writes DIR/metadata (root by P-521 and ML-DSA-65, both needed), DIR/targets, and ROLE.pem beside DIR for targets
(rsassa-pss-sha512), snapshot (rsa-pkcs1v15-sha384) and timestamp (ecdsa-sha2-nistp384).
"""

import os
import sys
from datetime import datetime, timedelta, timezone

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp


def rsa_signer(scheme):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return CryptoSigner(key, SSlibKey.from_crypto(key.public_key(), scheme=scheme))


folder = sys.argv[1]
signers = {
    "root": [
        CryptoSigner.generate_ecdsa(scheme="ecdsa-sha2-nistp521"),
        CryptoSigner(MLDSA65PrivateKey.generate()),
    ],
    "targets": [rsa_signer("rsassa-pss-sha512")],
    "snapshot": [rsa_signer("rsa-pkcs1v15-sha384")],
    "timestamp": [CryptoSigner.generate_ecdsa(scheme="ecdsa-sha2-nistp384")],
}
expires = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=365)
root = Root(expires=expires, consistent_snapshot=True)
for role, own in signers.items():
    for signer in own:
        root.add_key(signer.public_key, role)
root.roles["root"].threshold = 2
files = {
    "root": (root, "1.root.json"),
    "targets": (Targets(expires=expires), "1.targets.json"),
    "snapshot": (Snapshot(expires=expires), "1.snapshot.json"),
    "timestamp": (Timestamp(expires=expires), "timestamp.json"),
}
for name in ("metadata", "targets"):
    os.makedirs(os.path.join(folder, name))
for role, (signed, name) in files.items():
    metadata = Metadata(signed)
    for signer in signers[role]:
        metadata.sign(signer, append=True)
    metadata.to_file(os.path.join(folder, "metadata", name))
for role in ("targets", "snapshot", "timestamp"):
    path = os.path.join(os.path.dirname(os.path.abspath(folder)), f"{role}.pem")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(signers[role][0].private_bytes)
