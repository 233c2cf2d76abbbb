"""Makes private keys in the formats that people have, and says which keyid securesystemslib gives them.

usage: python_keys.py DIR PASSPHRASE

Prints a JSON object: file name -> {"type", "keyid", "encrypted"}.
"""

import json
import os
import sys

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from securesystemslib.signer import SSlibKey

directory, passphrase = sys.argv[1:]
private_keys = {
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "ecdsa-p256": ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384": ec.generate_private_key(ec.SECP384R1()),
    "rsa-3072": rsa.generate_private_key(65537, 3072),
}
formats = {
    "pkcs8": (serialization.PrivateFormat.PKCS8, False),
    "pkcs8-encrypted": (serialization.PrivateFormat.PKCS8, True),
    "traditional": (serialization.PrivateFormat.TraditionalOpenSSL, False),
}
made = {}
for kind, key in private_keys.items():
    # What the agent writes: one keytype and scheme for each kind, the key as PEM or hex.
    public = SSlibKey.from_crypto(key.public_key())
    for name, (layout, encrypted) in formats.items():
        if kind == "ed25519" and name == "traditional":
            continue
        lock = serialization.BestAvailableEncryption(passphrase.encode()) if encrypted else serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, layout, lock)
        file_name = f"{kind}.{name}.pem"
        with open(os.open(os.path.join(directory, file_name), os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(pem)
        made[file_name] = {"type": kind, "keyid": public.keyid, "encrypted": encrypted}
print(json.dumps(made))
