"""Judges the attestation of a card's key.

card_certificates.py ROOT INTERMEDIATE ATTESTATION PUBLIC: each was issued by the one before, and the attestation is of
the public key. Prints what it says of the card, if anything. Exit 3 where something does not fit.
"""

import json
import sys

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

MAKER = "1.3.6.1.4.1.41482.3."


def read(path):
    with open(path, "rb") as file:
        return file.read()


def main():
    root, intermediate, attestation = (x509.load_pem_x509_certificate(read(it)) for it in sys.argv[1:4])
    try:
        for certificate, issuer in [(root, root), (intermediate, root), (attestation, intermediate)]:
            certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError) as error:
        print(f"not issued so: {error!r}", file=sys.stderr)
        sys.exit(3)
    if attestation.public_key() != load_pem_public_key(read(sys.argv[4])):
        print("of another key", file=sys.stderr)
        sys.exit(3)
    theirs = [it for it in attestation.extensions if it.oid.dotted_string.startswith(MAKER)]
    values = {it.oid.dotted_string: it.value.value for it in theirs}
    firmware, serial, policy = (values.get(MAKER + it, b"") for it in "378")
    # The serial is an INTEGER: its tag and length go.
    told = {"serial": int.from_bytes(serial[2:], "big"), "firmware": list(firmware), "policy": list(policy)}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
