"""Makes one repository with python-tuf, as strangers have them: see strangers.py."""

import hashlib
import json
import os
from datetime import datetime, timedelta, timezone

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from securesystemslib.signer import CryptoSigner, SSlibKey
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

NOW = datetime.now(timezone.utc).replace(microsecond=0)
TOP = ["root", "timestamp", "snapshot", "targets"]


def make_key(kind):
    """A signer for a kind such as "ed25519", "ecdsa-p384", "rsa-2048/rsassa-pss-sha512"."""
    kind, _, scheme = kind.partition("/")
    if kind.startswith("rsa"):
        signer = CryptoSigner.generate_rsa(size=int(kind.partition("-")[2] or 2048))
    elif kind.startswith("ecdsa"):
        signer = CryptoSigner.generate_ecdsa(scheme=f"ecdsa-sha2-nist{kind.partition('-')[2] or 'p256'}")
    elif kind == "ml-dsa":
        signer = CryptoSigner.generate_mldsa()
    else:
        signer = CryptoSigner.generate_ed25519()
    if scheme:
        keytype = scheme.partition("!")[2]
        scheme = scheme.partition("!")[0]
        public = SSlibKey.from_crypto(signer._private_key.public_key(), scheme=scheme)
        if keytype:
            public = respelled(public, keytype=keytype)
        signer = CryptoSigner(signer._private_key, public)
    return signer


def respelled(key, keytype=None, keyid=None, **members):
    """The same key with another keytype, keyid or more members, under the keyid that it then has."""
    data = {**key.to_dict(), **members}
    if keytype:
        data["keytype"] = keytype
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    text = canonical(data) or text
    return SSlibKey.from_dict(keyid or hashlib.sha256(text.encode()).hexdigest(), data)


def canonical(data):
    from securesystemslib.formats import encode_canonical

    return encode_canonical(data)


class Maker:
    """One repository on its way."""

    def __init__(self, name):
        self.name = name
        self.signers = {}  # use -> signer
        self.consistent = True
        self.write = compact
        self.meta_hashes = {"snapshot": None, "timestamp": None}  # None: neither; else a list of algorithms
        self.versions = {"targets": 3, "snapshot": 3, "timestamp": 3}
        self.expires = {}
        self.spec = {}
        self.thresholds = {}
        self.role_keys = {role: ["online"] for role in TOP}
        self.role_keys["root"] = ["root"]
        self.target_hashes = ["sha256"]
        self.roles = {"targets": Targets(version=3, expires=self.until("targets"))}
        self.signed_by = {}  # delegated role -> uses
        self.files = {}  # target path -> content and entry, as clients find it
        self.published = []  # every (path, content, entry)
        self.reads = "all"
        self.refresh = True  # whether stock clients accept it before the adoption
        self.unlisted = []  # roles that the snapshot does not list
        self.also_listed = {}  # what it lists beside
        self.signature_tricks = {}
        self.signed_extra = {}
        self.roots = 1
        self.before_root = None  # called with (root, version) before each root is signed
        self.edit_document = {}
        self.first_kept_root = 1
        self.notes = {}
        self.unfetchable = []
        self.no_files = []  # targets whose files are not published
        self.role_file = quoted
        self.target("app.txt", b"hello of " + name.encode())

    def until(self, role):
        return self.expires.get(role, NOW + timedelta(days=20))

    def key(self, use, kind="ed25519"):
        self.signers[use] = make_key(kind)
        return self.signers[use]

    def public(self, use):
        if use not in self.signers:
            self.key(use)
        return self.signers[use].public_key

    def target(self, path, content, role="targets", hashes=None, **members):
        file = TargetFile.from_data(path, content, hashes or self.target_hashes)
        file.unrecognized_fields.update(members)
        self.roles[role].targets[path] = file
        self.files[path] = (content, file)
        self.published.append((path, content, file))
        return file

    def delegate(self, parent, name, uses, threshold=1, **scope):
        """One more delegated role, with metadata of its own."""
        targets = self.roles[parent]
        if targets.delegations is None:
            targets.delegations = Delegations({}, {})
        scope.setdefault("terminating", False)
        role = DelegatedRole(name, [], threshold, **scope)
        targets.delegations.roles[name] = role
        for use in uses:
            key = self.public(use)
            role.keyids.append(key.keyid)
            targets.delegations.keys[key.keyid] = key
        self.signed_by[name] = uses
        if name not in self.roles:
            self.roles[name] = Targets(version=2, expires=self.until(name))
        return role

    def bins(self, parent, prefix, bits, uses, threshold=1):
        keys = [self.public(use) for use in uses]
        succinct = SuccinctRoles([key.keyid for key in keys], threshold, bits, prefix)
        self.roles[parent].delegations = Delegations({key.keyid: key for key in keys}, succinct_roles=succinct)
        for name in succinct.get_roles():
            self.signed_by[name] = uses
            self.roles[name] = Targets(version=1, expires=self.until(name))
        return succinct

    def meta(self, version, data, role):
        algorithms = self.meta_hashes[role]
        if algorithms is None:
            return MetaFile(version)
        hashes = {name: hashlib.new(name, data).hexdigest() for name in algorithms}
        return MetaFile(version, len(data), hashes or None)

    def sign(self, signed, uses, name):
        metadata = Metadata(signed)
        done = set()
        for use in uses:
            signer = self.signers[use]
            if signer.public_key.keyid not in done:
                metadata.sign(signer, append=True)
                done.add(signer.public_key.keyid)
        document = metadata.to_dict()
        document = {"signatures": document["signatures"], "signed": document["signed"]}
        if name in self.signature_tricks:
            self.signature_tricks[name](document["signatures"])
        if name in self.edit_document:
            self.edit_document[name](document)
        return self.write(document)

    def publish(self, out):
        folder = os.path.join(out, self.name)
        metadata = os.path.join(folder, "metadata")
        os.makedirs(metadata)
        os.makedirs(os.path.join(folder, "targets"))

        def put(name, data):
            os.makedirs(os.path.dirname(os.path.join(metadata, name)), exist_ok=True)
            with open(os.path.join(metadata, name), "wb") as file:
                file.write(data)

        self.publish_roots(put)
        listed = {}
        for name, signed in self.roles.items():
            signed.spec_version = self.spec.get(name, signed.spec_version)
            if name == "targets":
                signed.version = self.versions["targets"]
            signed.expires = self.expires.get(name, signed.expires)
            uses = self.role_keys["targets"] if name == "targets" else self.signed_by[name]
            data = self.sign(signed, uses, name)
            prefix = f"{signed.version}." if self.consistent else ""
            if name not in self.unlisted:
                put(f"{prefix}{self.role_file(name)}.json", data)
                listed[f"{name}.json"] = self.meta(signed.version, data, "snapshot")
        for name, version in self.also_listed.items():
            listed[f"{name}.json"] = MetaFile(version)
        extra = self.signed_extra
        snapshot = Snapshot(self.versions["snapshot"], self.spec.get("snapshot"), self.until("snapshot"), listed)
        snapshot.unrecognized_fields.update(extra.get("snapshot", {}))
        self.tweak_snapshot(snapshot)
        data = self.sign(snapshot, self.role_keys["snapshot"], "snapshot")
        put(f"{snapshot.version}.snapshot.json" if self.consistent else "snapshot.json", data)
        meta = self.meta(snapshot.version, data, "timestamp")
        timestamp = Timestamp(self.versions["timestamp"], self.spec.get("timestamp"), self.until("timestamp"), meta)
        timestamp.unrecognized_fields.update(extra.get("timestamp", {}))
        put("timestamp.json", self.sign(timestamp, self.role_keys["timestamp"], "timestamp"))
        self.publish_targets(folder)
        self.publish_keys(out)

    def tweak_snapshot(self, snapshot):
        pass

    def publish_roots(self, put):
        signers_before = None
        for version in range(1, self.roots + 1):
            for uses in self.role_keys.values():
                for use in uses:
                    self.public(use)
            root = Root(version, self.spec.get("root"), self.until("root"), consistent_snapshot=self.consistent)
            if self.before_root:
                self.before_root(root, version)
            for role, uses in self.role_keys.items():
                for use in uses:
                    root.add_key(self.public(use), role)
                root.roles[role].threshold = self.thresholds.get(role, 1)
            root.unrecognized_fields.update(self.signed_extra.get("root", {}))
            now = list(self.role_keys["root"])
            both = now + [use for use in signers_before or [] if use not in now]
            data = self.sign(root, both, "root")
            if version >= self.first_kept_root:
                put(f"{version}.root.json", data)
            signers_before = now

    def publish_targets(self, folder):
        for path, content, file in self.published:
            if path in self.no_files:
                continue
            above, _, base = path.rpartition("/")
            names = [f"{digest}.{base}" for digest in file.hashes.values()] if self.consistent else [base]
            places = [os.path.join(above, name) for name in names]
            if self.consistent and above:
                places += [f"{digest}.{path}" for digest in file.hashes.values()]
            for place in places:
                place = os.path.join(folder, "targets", place)
                os.makedirs(os.path.dirname(place), exist_ok=True)
                with open(place, "wb") as target:
                    target.write(content)

    def publish_keys(self, out):
        folder = os.path.join(out, f"{self.name}.keys")
        os.makedirs(folder, exist_ok=True)
        for use, signer in self.signers.items():
            if use == "future":
                continue
            pem = signer._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            with open(os.open(os.path.join(folder, f"{use}.pem"), os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                file.write(pem)

    def description(self):
        return {
            "kind": self.name,
            "reads": self.reads,
            "refresh": self.refresh,
            "targets": sorted(path for path in self.files if path not in self.unfetchable),
            "keys": self.notes.pop("import", None) or sorted(use for use in self.signers if use != "future"),
            **self.notes,
        }


def quoted(role):
    from urllib.parse import quote

    return quote(role, "")


# How a stranger writes JSON.


def compact(document):
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def indented(document):
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def tabbed_crlf(document):
    return json.dumps(document, indent="\t", ensure_ascii=False).replace("\n", "\r\n").encode() + b"\r\n\r\n"


def escaped(document):
    """Every letter that may be escaped is, here and there; slashes too."""
    return json.dumps(document, indent=4, ensure_ascii=True).replace("/", "\\/").encode()


def backwards(document):
    def turn(value):
        if isinstance(value, dict):
            return {name: turn(value[name]) for name in sorted(value, reverse=True)}
        return [turn(item) for item in value] if isinstance(value, list) else value

    return json.dumps(turn(document), indent=2).encode()
