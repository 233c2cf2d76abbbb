"""Kinds of repositories that are rarer still: see strangers.py, which makes them."""

import base64
import hashlib
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.signer import CryptoSigner, SSlibKey
from strangers_maker import NOW, indented, respelled

KINDS = {}
GROUPS = {}


def group(name):
    """Begins a group of kinds."""
    GROUPS[name] = []


def kind(function):
    name = function.__name__.replace("_", "-")
    KINDS[name] = function
    GROUPS[list(GROUPS)[-1]].append(name)
    return function


def team(m, *uses, **scope):
    scope = scope or {"paths": ["team/*"]}
    m.delegate("targets", "team", list(uses) or ["team"], **scope)
    m.target("team/a.txt", b"team", role="team")


def spelled(m, use, signer, **members):
    """A key as somebody else has written it down."""
    m.signers[use] = CryptoSigner(signer._private_key, respelled(signer.public_key, **members))


group("rare-keys")


@kind
def rsa_keys_of_odd_sizes_and_exponents(m):
    for use, (size, exponent) in {"root": (2056, 65537), "online": (2048, 3), "team": (3000, 3)}.items():
        private = rsa.generate_private_key(public_exponent=exponent, key_size=size)
        m.signers[use] = CryptoSigner(private, SSlibKey.from_crypto(private.public_key()))
    team(m)
    m.reads = "not-tough"


@kind
def large_rsa_keys(m):
    m.key("root", "rsa-4096")
    m.key("online", "rsa-4096")
    m.key("team", "rsa-4096")
    team(m)


@kind
def pem_as_others_write_it(m):
    def text(use, change, kind="ecdsa-p256"):
        signer = m.key(use, kind)
        spelled(m, use, signer, keyval={"public": change(signer.public_key.keyval["public"])})

    text("root", lambda pem: pem.rstrip("\n"))
    text("online", lambda pem: pem.replace("\n", "\r\n"))
    text("team", lambda pem: pem + "\n\n")
    text("other", lambda pem: pem.rstrip("\n"), "rsa-2048")
    team(m, "team", "other", threshold=2, paths=["team/*"])


@kind
def points_that_are_compressed(m):
    for use in ["root", "online", "team"]:
        signer = m.key(use, "ecdsa-p256")
        pem = signer._private_key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
        body = base64.b64encode(head + pem).decode()
        lines = [body[at : at + 64] for at in range(0, len(body), 64)]
        pem = "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])
        spelled(m, use, signer, keyval={"public": pem})
    team(m)
    m.reads = "python"


@kind
def keys_with_an_empty_private_part(m):
    """As securesystemslib wrote them before 0.12."""
    for use, kind in {"root": "ed25519", "online": "rsa-2048", "team": "ecdsa-p256"}.items():
        signer = m.key(use, kind)
        public = signer.public_key.keyval["public"]
        members = {"keyid_hash_algorithms": ["sha256", "sha512"], "keyval": {"public": public, "private": ""}}
        spelled(m, use, signer, **members)
    team(m)


@kind
def signatures_in_capitals(m):
    def shout(signatures):
        for entry in signatures:
            entry["sig"] = entry["sig"].upper()

    m.signature_tricks = {name: shout for name in ["root", "targets", "snapshot", "timestamp", "team"]}
    m.key("root", "rsa-2048")
    m.key("online", "ecdsa-p256")
    team(m)
    m.reads = "python"


@kind
def one_key_named_twice_for_different_roles(m):
    signer = m.key("online")
    spelled(m, "again", signer, **{"x-for": "delegations"})
    team(m, "again")
    m.notes = {"import": ["online", "root"]}


@kind
def many_keys_with_high_thresholds(m):
    uses = [f"k{number}" for number in range(15)]
    for number, use in enumerate(uses):
        m.key(use, ["ed25519", "ecdsa-p256", "rsa-2048"][number % 3])
    m.role_keys = {role: uses for role in m.role_keys}
    m.thresholds = {"root": 11, "targets": 8, "snapshot": 2, "timestamp": 3}
    team(m, *uses, threshold=15, paths=["team/*"])


@kind
def an_ecdsa_scheme_under_each_keytype(m):
    m.key("root", "ecdsa-p256/ecdsa-sha2-nistp256!ecdsa-sha2-nistp256")
    m.key("online", "ecdsa-p256")
    m.key("team", "ecdsa-p384/ecdsa-sha2-nistp384")
    m.key("other", "ecdsa-p384/ecdsa-sha2-nistp384!ecdsa-sha2-nistp384")
    team(m, "team", "other", threshold=2, paths=["team/*"])
    m.reads = "python"


group("rare-elsewhere")


@kind
def ml_dsa_everywhere(m):
    m.key("root", "ml-dsa")
    m.key("online", "ml-dsa")
    m.key("team", "ml-dsa")
    team(m)
    m.reads = "python"


group("rare-delegations")


@kind
def prefixes_of_odd_lengths(m):
    digest = lambda path: hashlib.sha256(path.encode()).hexdigest()
    whole = digest("files/0.txt")
    m.delegate("targets", "one", ["one"], path_hash_prefixes=[whole])
    m.delegate("targets", "three", ["three"], path_hash_prefixes=[digest(f"files/{n}.txt")[:3] for n in range(1, 5)], terminating=True)
    m.delegate("targets", "rest", ["rest"], path_hash_prefixes=[f"{n:x}" for n in range(16)], threshold=1)
    for number in range(12):
        path = f"files/{number}.txt"
        m.target(path, path.encode(), role="one" if number == 0 else "three" if number < 5 else "rest")


@kind
def paths_then_prefixes_then_paths(m):
    m.delegate("targets", "a", ["a1", "a2", "a3"], threshold=2, paths=["p/*", "p/*/*", "p/*/*/*"], terminating=True)
    for half, digits in enumerate(["01234567", "89abcdef"]):
        m.delegate("a", f"b{half}", ["b"], path_hash_prefixes=list(digits), terminating=True)
        m.delegate(f"b{half}", f"c{half}", ["c"], paths=["p/q/*", "p/q/*/*"])
        m.delegate(f"c{half}", f"d{half}", ["d"], paths=["p/q/r/*"])
    for number in range(4):
        path = f"p/q/r/{number}.txt"
        half = int(hashlib.sha256(path.encode()).hexdigest()[0], 16) // 8
        m.target(path, path.encode(), role=f"d{half}")


@kind
def names_like_those_of_files(m):
    m.role_file = str
    for number, name in enumerate(["1.root", "root.json", "timestamp.json", "2.snapshot", "Targets", "targets.json", "mirrors", "3.targets.json"]):
        m.delegate("targets", name, [f"k{number}"], paths=[f"r{number}/*"])
        m.target(f"r{number}/a.txt", name.encode(), role=name)


@kind
def like_notary(m):
    m.role_file = str
    m.delegate("targets", "targets/releases", ["releases"], paths=["*", "*/*"])
    m.delegate("targets/releases", "targets/releases/ann", ["ann"], paths=["ann/*"])
    m.target("v1", b"v1", role="targets/releases")
    m.target("ann/x", b"x", role="targets/releases/ann")
    m.reads = "not-tough"


@kind
def one_path_in_several_roles(m):
    for name in ["one", "two", "three"]:
        m.delegate("targets", name, [name], paths=["d/*"])
        m.target("d/x.txt", name.encode(), role=name)
        m.target(f"d/{name}.txt", name.encode(), role=name)


@kind
def a_path_in_several_roles_and_at_the_top(m):
    team(m)
    m.target("team/a.txt", b"of the top")


@kind
def three_hundred_roles(m):
    for number in range(300):
        name = f"r{number}"
        m.delegate("targets", name, [f"k{number % 7}"], paths=[f"{name}/*"])
    m.target("r3/a.txt", b"3", role="r3")
    m.target("r299/a.txt", b"299", role="r299")


def bins_of(bits, prefix, **more):
    def make(m):
        m.notes = {"bins": prefix}
        bins = m.bins("targets", prefix, bits, ["bins", "bins2", "bins3"], **more)
        for number in range(8):
            path = f"files/{number}.txt"
            m.target(path, path.encode(), role=bins.get_role_for_target(path))
        m.reads = "not-tough"

    make.__name__ = f"bins_of_{bits}_bits"
    return make


group("rare-bins")

for bits, prefix in [(4, "0"), (6, "a.b"), (7, "3.bin"), (9, "bin-00"), (11, "x")]:
    kind(bins_of(bits, prefix, threshold=1 + bits % 3))


@kind
def bins_without_consistent_snapshots(m):
    m.consistent = False
    m.meta_hashes = {"snapshot": ["sha256"], "timestamp": ["sha256", "sha512"]}
    bins_of(3, "bin", threshold=2)(m)
    m.target("top/plain.txt", b"plain")


@kind
def like_rstuf_with_its_members(m):
    for use in ["ann", "ben", "cy", "online"]:
        signer = m.key(use, "ecdsa-p256" if use == "ann" else "ed25519")
        uri = {"x-rstuf-online-key-uri": "fn:online"} if use == "online" else {}
        spelled(m, use, signer, **{"x-rstuf-key-name": use, **uri})
    m.role_keys["root"] = ["ann", "ben", "cy"]
    m.thresholds = {"root": 2}
    bins = m.bins("targets", "bins", 8, ["online"])
    for number in range(8):
        path = f"files/{number}.txt"
        m.target(path, path.encode(), role=bins.get_role_for_target(path), custom={"added_by": "api", "n": number})
    m.target_hashes = ["blake2b-256"]
    m.notes = {"bins": "bins"}
    m.write = indented
    m.reads = "not-tough"
    m.versions = {"targets": 1, "snapshot": 1, "timestamp": 1}


@kind
def bins_that_say_the_same(m):
    """In files of their own: under signatures that differ each time, with other members around them."""
    m.key("bins", "rsa-2048")
    m.meta_hashes = {"snapshot": ["sha256", "sha512"], "timestamp": ["sha512"]}
    m.notes = {"bins": "bin"}
    bins = m.bins("targets", "bin", 3, ["bins"])
    m.target("files/1.txt", b"1", role=bins.get_role_for_target("files/1.txt"))
    m.reads = "not-tough"
    for number, name in enumerate(bins.get_roles()):
        m.edit_document[name] = lambda document, number=number: document.update({"x-number": number})


group("rare-files")


@kind
def custom_that_is_empty(m):
    m.target("custom.txt", b"custom", custom={})
    m.reads = "not-tough"


@kind
def like_sigstore(m):
    for use in ["ann", "ben", "cy"]:
        signer = m.key(use, "ecdsa-p256/ecdsa-sha2-nistp256!ecdsa-sha2-nistp256")
        spelled(m, use, signer, keyid_hash_algorithms=["sha256", "sha512"])
    m.role_keys["root"] = m.role_keys["targets"] = ["ann", "ben", "cy"]
    m.thresholds = {"root": 2, "targets": 2}
    m.spec = {role: "1.0" for role in ["root", "targets", "snapshot", "timestamp", "registry.example.org"]}
    m.delegate("targets", "registry.example.org", ["registry"], paths=["registry.example.org/*"], terminating=True)
    custom = {"sigstore": {"status": "Active", "uri": "https://fulcio.example", "usage": "Fulcio"}}
    m.target("fulcio.crt.pem", b"certificate", custom=custom)
    m.target("registry.example.org/keys.json", b"{}", role="registry.example.org")
    m.target_hashes = ["sha256", "sha512"]
    m.target("rekor.pub", b"key", custom=custom)
    m.meta_hashes = {"snapshot": ["sha256", "sha512"], "timestamp": ["sha256", "sha512"]}
    m.write = indented
    m.roots = 3
    m.expires = {"root": NOW + timedelta(days=180)}


@kind
def like_tuf_on_ci_with_a_delegation(m):
    for use in ["ann", "ben", "cy", "online"]:
        signer = m.key(use, "ecdsa-p256")
        owner = {"x-tuf-on-ci-online-uri": "awskms:x"} if use == "online" else {"x-tuf-on-ci-keyowner": f"@{use}"}
        spelled(m, use, signer, **owner)
    m.role_keys = {"root": ["ann", "ben", "cy"], "targets": ["ann", "ben"], "snapshot": ["online"], "timestamp": ["online"]}
    m.thresholds = {"root": 2}
    periods = {"x-tuf-on-ci-expiry-period": 365, "x-tuf-on-ci-signing-period": 60}
    m.signed_extra = {"root": periods}
    m.roles["targets"].unrecognized_fields.update(periods)
    m.delegate("targets", "sdk", ["ben", "cy"], threshold=1, paths=["sdk/*"], terminating=True)
    m.roles["sdk"].unrecognized_fields.update({"x-tuf-on-ci-expiry-period": 50, "x-tuf-on-ci-signing-period": 10})
    m.target("sdk/a.tar.gz", b"sdk", role="sdk")
    online = {"x-tuf-on-ci-expiry-period": 7, "x-tuf-on-ci-signing-period": 4}
    m.before_root = lambda root, version: [root.roles[r].unrecognized_fields.update(online) for r in ["snapshot", "timestamp"]]
    empty = lambda signatures: signatures.append({"keyid": m.public("cy").keyid, "sig": ""})
    m.signature_tricks = {"targets": empty}
    m.write = indented
    m.roots = 2
    m.versions = {"targets": 1, "snapshot": 1, "timestamp": 1}


@kind
def like_pep_458(m):
    m.key("root", "rsa-4096")
    m.delegate("targets", "bins", ["bins"], paths=["simple/*", "simple/*/*", "packages/*", "packages/*/*"])
    for first in range(16):
        prefixes = [f"{first:x}{second:x}" for second in range(16)]
        m.delegate("bins", f"{first:x}0-{first:x}f", ["online"], path_hash_prefixes=prefixes)
    for number in range(6):
        path = f"packages/p{number}/p-1.{number}.tar.gz"
        m.target(path, path.encode(), role="{0}0-{0}f".format(hashlib.sha256(path.encode()).hexdigest()[0]), hashes=["blake2b-256", "sha256"])
    m.reads = "python"


@kind
def names_of_targets_that_are_rarer(m):
    names = ["a" * 180, "d.d/e.e/f", "\U0001f600/\U0001f4a9.bin", "שלום/עולם.txt", "tab\there", "quote\"d'.txt", "semi;colon,comma", "%", "100%", "a%zz", "d/-dash", "~tilde", "sp ace/t wo", "x/..y/z..", "con.txt", "\u2028line"]
    for name in names:
        m.target(name, name.encode())
    m.unfetchable = ["a%zz", "%", "100%", "tab\there"]
    m.reads = "not-tough"


@kind
def large_custom_and_lists(m):
    custom = {"notes": ["n" * 1000] * 100, "deep": [[[[[[[[{"x": "\\\"/\b\f\n\r\t"}]]]]]]]], "e": {}, "z": None, "A": 1, "a": 2}
    m.target("custom.txt", b"custom", custom=custom)
    m.target("other.txt", b"other", **{"x-list": [], "length-of": "x", "hashes2": {"sha256": "00"}})


@kind
def first_versions(m):
    m.versions = {role: 1 for role in m.versions}
    team(m)
    m.roles["team"].version = 1


@kind
def very_large_versions_and_the_last_second(m):
    m.versions = {"targets": 2**53 - 9, "snapshot": 2**53 - 7, "timestamp": 2**53 - 5}
    m.expires = {role: NOW.replace(year=9999, month=12, day=31, hour=23, minute=59, second=59) for role in ["root", "targets", "snapshot", "timestamp", "team"]}
    team(m)
    m.reads = "not-tough"


@kind
def target_files_that_lie_elsewhere(m):
    m.target("large.iso", b"0")
    m.roles["targets"].targets["large.iso"].length = 2**41
    m.target("gone.txt", b"gone")
    m.unfetchable = ["large.iso", "gone.txt"]
    m.notes = {"verifies": False}
    m.no_files = ["large.iso", "gone.txt"]


@kind
def consistent_snapshots_until_the_second_root(m):
    m.roots = 2

    def switch(root, version):
        root.consistent_snapshot = version == 1

    m.before_root = switch
    m.consistent = False


@kind
def expired_in_the_middle(m):
    team(m)
    m.delegate("team", "below", ["below"], paths=["team/*"])
    m.expires = {"team": NOW - timedelta(days=3)}
    m.target("team/b.txt", b"below", role="below")
    m.unfetchable = ["team/a.txt", "team/b.txt"]
    m.notes = {"bump": ["team"]}
    m.reads = "not-tough"


@kind
def entries_with_a_digest_and_no_length(m):
    m.meta_hashes = {"snapshot": ["sha256"], "timestamp": ["sha512", "sha256"]}
    team(m)

    def tweak(snapshot):
        for entry in snapshot.meta.values():
            entry.length = None

    m.tweak_snapshot = tweak


@kind
def members_named_like_others(m):
    odd = {"signed": {"_type": "root"}, "signatures": [], "keys": {}, "version": 1, "roles": [], "meta": {"a.json": {}}}
    m.signed_extra = {role: {"x": odd, "signatures": [], "signed": {}} for role in ["root", "snapshot", "timestamp"]}
    m.roles["targets"].unrecognized_fields.update({"meta": {}, "keys": {}, "roles": {"root": {}}, "snapshot": odd})
    m.target("custom.txt", b"custom", custom=odd, version=3, keyids=["00"])
