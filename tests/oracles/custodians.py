"""What others make of files for custodians: pyrage opens them, SLIP-0039's reference recovers the key, a reader of codes
reads what is printed. Prints one JSON document.

usage: custodians.py identities NAME,NAME
       custodians.py recover ed25519|ecdsa-p256 FILE KEY_FILE FILE KEY_FILE
       custodians.py forge FILE KEY_FILE
       custodians.py again FILE KEY_FILE KEY_FILE FILE
       custodians.py parts FILE KEY_FILE FILE KEY_FILE…
       custodians.py traces ed25519|ecdsa-p256 FILE KEY_FILE FILE KEY_FILE…
       custodians.py sheet FILE.html
       custodians.py manifest SET.json FILE KEY_FILE FILE KEY_FILE

A KEY_FILE holds an identity, or the passphrase of a file that is under one; it is "-" for a file that holds the words as they are.
"""

import base64
import dataclasses
import hashlib
import html
import json
import re
import sys

import pyrage
import shamir_mnemonic
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib.formats import encode_canonical
from shamir_mnemonic.share import Share
from shamir_mnemonic.wordlist import WORDLIST as WORDS


def identities(names):
    made = {}
    for name in names.split(","):
        one = pyrage.x25519.Identity.generate()
        made[name] = {"identity": str(one), "recipient": str(one.to_public())}
    return made


def opened(file, key_file):
    if key_file == "-":
        with open(file) as source:
            return source.read().strip()
    with open(key_file) as source:
        key = source.read().strip()
    with open(file, "rb") as source:
        sealed = source.read()
    if work_factor(sealed):
        return pyrage.passphrase.decrypt(sealed, key).decode()
    return pyrage.decrypt(sealed, [pyrage.x25519.Identity.from_str(key)]).decode()


def work_factor(sealed):
    """Of a file under a passphrase; none of another."""
    stanza = sealed.split(b"\n", 2)[1].split(b" ")
    return int(stanza[3]) if stanza[1] == b"scrypt" else None


def again(file, key_file, new_key_file, new_file):
    """What custodians do who want another key on their file."""
    with open(new_key_file) as source:
        key = source.read().strip()
    words = opened(file, key_file).encode()
    if key.startswith("AGE-SECRET-KEY-"):
        sealed = pyrage.encrypt(words, [pyrage.x25519.Identity.from_str(key).to_public()])
    else:
        sealed = pyrage.passphrase.encrypt(words, key)
    with open(new_file, "wb") as target:
        target.write(sealed)
    with open(file, "rb") as source:
        return {"before": work_factor(source.read()), "after": work_factor(sealed)}


def parts(*files):
    """What must not be seen of shares: their words and values, and what enough of them make."""
    words = [opened(*pair) for pair in zip(files[::2], files[1::2])]
    shares = [{"words": text, "value": Share.from_mnemonic(text).value.hex()} for text in words]
    return {"shares": shares, "secret": shamir_mnemonic.combine_mnemonics(words).hex()}


def recover(kind, *files):
    words = [opened(*pair) for pair in zip(files[::2], files[1::2])]
    assert all(re.fullmatch("[a-z]+( [a-z]+){32}", text) for text in words), "one line of words and nothing else"
    secret = shamir_mnemonic.combine_mnemonics(words)
    assert len(secret) == 32
    if kind == "ed25519":
        key = ed25519.Ed25519PrivateKey.from_private_bytes(secret).public_key()
        return {"public": key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()}
    key = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1()).public_key()
    return {"public": key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()}


def traces(kind, *files):
    """All that could be left of shares and their key in a memory, in hexadecimal, by what it is."""
    words = [opened(*pair) for pair in zip(files[::2], files[1::2])]
    secret = shamir_mnemonic.combine_mnemonics(words[:2])
    found = written("the key", secret)
    if kind == "ed25519":
        expanded = hashlib.sha512(secret).digest()
        # The first and the last byte of the scalar are clamped.
        found |= written("the scalar", expanded[1:31]) | written("the prefix", expanded[32:])
    for file, key_file, text in zip(files[::2], files[1::2], words):
        found |= traces_of_share(file, text)
        if key_file != "-":
            found |= traces_of_file(file, key_file)
    return {name: value.hex() for name, value in found.items()}


def written(name, value):
    """As it is, backwards, and as people print it."""
    return {
        name: value,
        f"{name} backwards": value[::-1],
        f"{name} in hex": value.hex().encode(),
        f"{name} in upper case hex": value.hex().upper().encode(),
        f"{name} in base64": base64.b64encode(value)[: len(value) * 4 // 3],
    }


def traces_of_share(file, text):
    """The words after the header, of which fewer than four might be there by chance, their numbers, and the value."""
    words = text.split(" ")
    numbers = [WORDS.index(word) for word in words]
    found = written(f"the value of {file}", Share.from_mnemonic(text).value)
    for at in range(4, len(words) - 3):
        row = " ".join(words[at : at + 4])
        found |= {f"words {at} of {file}": row.encode(), f"words {at} of {file} in upper case": row.upper().encode()}
    for name, size in ("16", 2), ("32", 4), ("64", 8):
        row = numbers[6:22]
        found[f"numbers of {file} in {name} bits"] = b"".join(number.to_bytes(size, "little") for number in row)
    return found


def traces_of_file(file, key_file):
    """What opens an age file: the identity or passphrase, the file's key, and those that are made of it."""
    with open(key_file, "rb") as source:
        key = source.read().strip()
    with open(file, "rb") as source:
        sealed = source.read()
    head, rest = sealed.split(b"\n--- ", 1)
    nonce = rest.split(b"\n", 1)[1][:16]
    _, arguments, body = head.split(b"\n")
    arguments, body = arguments.split(b" ")[1:], unpadded(body)
    found = {f"what opens {file}": key}
    if arguments[0] == b"scrypt":
        salt = b"age-encryption.org/v1/scrypt" + unpadded(arguments[1])
        n = 1 << int(arguments[2])
        wrapping = hashlib.scrypt(key, salt=salt, n=n, r=8, p=1, maxmem=2 * 128 * 8 * n, dklen=32)
    else:
        bits = "".join(f"{ALPHABET.index(letter):05b}" for letter in key.decode().lower()[-58:-6])
        identity = x25519.X25519PrivateKey.from_private_bytes(int(bits[:256], 2).to_bytes(32, "big"))
        theirs = unpadded(arguments[1])
        shared = identity.exchange(x25519.X25519PublicKey.from_public_bytes(theirs))
        ours = identity.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        wrapping = derived(shared, theirs + ours, b"age-encryption.org/v1/X25519")
        found[f"the shared secret of {file}"] = shared
    file_key = ChaCha20Poly1305(wrapping).decrypt(bytes(12), body, None)
    found |= written(f"the key of {file}", file_key)
    found[f"the wrapping key of {file}"] = wrapping
    found[f"the header's key of {file}"] = derived(file_key, b"", b"header")
    found[f"the payload's key of {file}"] = derived(file_key, nonce, b"payload")
    return found


def derived(secret, salt, info):
    return HKDF(hashes.SHA256(), 32, salt, info).derive(secret)


def unpadded(text):
    return base64.b64decode(text + b"=" * (-len(text) % 4))


def forge(file, key_file):
    """Another value under the same head, with a right checksum."""
    share = Share.from_mnemonic(opened(file, key_file))
    value = bytearray(share.value)
    value[5] ^= 1
    return {"words": dataclasses.replace(share, value=bytes(value)).mnemonic()}


def manifest(set_json, *files):
    """All that tufctl-shares(7) says of set.json, and of the shares of its set."""
    with open(set_json) as source:
        whole = json.load(source)
    assert sorted(whole) == ["manifest", "signature"]
    said, signature = whole["manifest"], bytes.fromhex(whole["signature"])
    canonical = encode_canonical(said).encode()
    signed = b"tuf-agent-statement-v1\nshare-manifest\n" + canonical
    public = said["key"]["keyval"]["public"]
    if said["kind"] == "ed25519":
        ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, signed)
    else:
        load_pem_public_key(public.encode()).verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    assert said["keyid"] == hashlib.sha256(encode_canonical(said["key"]).encode()).hexdigest()
    assert (said["type"], said["version"], said["sequence"], said["previous"]) == ("tuf-agent-share-set", 1, 1, None)
    owners = []
    for pair in zip(files[::2], files[1::2]):
        words = opened(*pair)
        share = Share.from_mnemonic(words)
        assert (share.identifier, share.extendable) == (said["identifier"], said["extendable"])
        assert share.iteration_exponent == said["iteration_exponent"]
        assert (share.group_threshold, share.group_count) == (said["group_threshold"], len(said["groups"]))
        group = said["groups"][share.group_index]
        assert share.member_threshold == group["threshold"]
        member = group["members"][share.index]
        line = b"tuf-agent-share-fingerprint-v1\n" + words.encode()
        assert member["fingerprint"] == hashlib.sha256(line).hexdigest()
        owners.append(member["custodian"])
    members = sorted(said)
    return {"owners": owners, "sha256": hashlib.sha256(canonical).hexdigest(), "members": members}


def sheet(file):
    with open(file) as source:
        page = source.read()
    words = " ".join(re.findall("<li>([a-z]+)</li>", page))
    return {
        "words": words,
        "code": code(page),
        "fetches": len(re.findall(r"(?:src|href)\s*=|url\(|<script|@import", page)),
        "command": re.search("<pre>(tufctl share verify --fingerprint [^<]*)</pre>", page).group(1),
        "fingerprint": re.search('id="fingerprint">([0-9a-f]{64})<', page).group(1),
        "manifest": html.unescape(re.search('<pre id="manifest">(.*?)</pre>', page, re.S).group(1)),
    }


def code(page):
    """Reads the QR code from its picture: black squares on white, as the SVG has them."""
    import zxingcpp

    svg = re.search(r'<svg[^>]*viewBox="0 0 (\d+) (\d+)".*?<path d="([^"]*)"', page, re.S)
    side, scale = int(svg.group(1)), 4
    dark = {(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", svg.group(3))}
    rows = [[0 if (x // scale, y // scale) in dark else 255 for x in range(side * scale)] for y in range(side * scale)]


    data = bytes(value for row in rows for value in row)
    view = memoryview(data).cast("B", (side * scale, side * scale))
    found = zxingcpp.read_barcodes(view)
    return found[0].text if found else None


ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
COMMANDS = {
    "identities": identities,
    "recover": recover,
    "forge": forge,
    "again": again,
    "parts": parts,
    "traces": traces,
    "sheet": sheet,
    "manifest": manifest,
}
print(json.dumps(COMMANDS[sys.argv[1]](*sys.argv[2:])))
