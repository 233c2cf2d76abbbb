"""Verifies many signatures with OpenSSL.

openssl_verify.py FILE: the first line names the scheme, the second is the public key (SubjectPublicKeyInfo in
hexadecimal), each other line a message and its signature in hexadecimal. Prints how many there were, and how many of
them hold a number r or s that is shorter than the curve's order. Exit 3 at the first that does not verify.
"""

import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

HASHES = {"224": hashes.SHA224, "256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}


def options(scheme):
    """What `verify` of the key wants beside signature and message."""
    if scheme == "ed25519":
        return ()
    if scheme == "ecdsa-sha2-nistp256":
        return (ec.ECDSA(hashes.SHA256()),)
    if scheme == "ecdsa-sha2-nistp384":
        return (ec.ECDSA(hashes.SHA384()),)
    digest = HASHES[scheme[-3:]]
    if scheme.startswith("rsassa-pss-sha"):
        return (padding.PSS(padding.MGF1(digest()), digest().digest_size), digest())
    if scheme.startswith("rsa-pkcs1v15-sha"):
        return (padding.PKCS1v15(), digest())
    raise SystemExit(f"unknown scheme {scheme}")


def main():
    with open(sys.argv[1], encoding="ascii") as file:
        scheme, public, *lines = file.read().split("\n")
    key = load_der_public_key(bytes.fromhex(public))
    more = options(scheme)
    count = short = 0
    for line in filter(None, lines):
        message, signature = (bytes.fromhex(word) for word in line.split(" "))
        try:
            key.verify(signature, message, *more)
        except InvalidSignature:
            print(f"{scheme}: signature {count} does not verify: {line}", file=sys.stderr)
            return 3
        count += 1
        if scheme.startswith("ecdsa"):
            short += min(decode_dss_signature(signature)) >> (key.curve.key_size - 8) == 0
    print(json.dumps({"verified": count, "short": short}))
    return 0


sys.exit(main())
