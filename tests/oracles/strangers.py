"""Makes repositories as strangers have them, with python-tuf: one for each kind that is asked for.

usage: strangers.py OUT [GROUP|KIND...]

OUT/KIND/ gets metadata/ and targets/, OUT/KIND.keys/ the private keys (PKCS#8, 0600) by the name of their use.
Prints a JSON list that says of every kind who reads it (all; not-tough; python; tough alone for "tough"), whether stock
clients accept it as it is, which of its targets can be downloaded, and what must be bumped as it has expired.
"""

import hashlib
import json
import os
import sys
from datetime import timedelta

import strangers_rare
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from strangers_maker import NOW, Maker, backwards, escaped, indented, respelled, tabbed_crlf
from securesystemslib.signer import CryptoSigner, GPGKey

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


group("keys")


def all_of(m, kind):
    m.key("root", kind)
    m.key("online", kind)
    m.delegate("targets", "team", ["team"], paths=["team/*"])
    m.target("team/a.txt", b"team", role="team")


@kind
def ed25519_everywhere(m):
    all_of(m, "ed25519")


@kind
def ecdsa_p256_everywhere(m):
    all_of(m, "ecdsa-p256")


@kind
def ecdsa_p384_everywhere(m):
    all_of(m, "ecdsa-p384")
    m.reads = "python"


@kind
def rsa_2048_everywhere(m):
    all_of(m, "rsa-2048")


@kind
def rsa_3072_and_4096(m):
    m.key("root", "rsa-4096")
    m.key("online", "rsa-3072")


@kind
def old_ecdsa_keytype(m):
    m.key("root", "ecdsa-p256/ecdsa-sha2-nistp256!ecdsa-sha2-nistp256")
    m.key("online", "ecdsa-p256/ecdsa-sha2-nistp256!ecdsa-sha2-nistp256")


@kind
def mixed_thresholds(m):
    for use, kind in {"a": "ed25519", "b": "ecdsa-p256", "c": "rsa-2048", "d": "ed25519"}.items():
        m.key(use, kind)
    m.role_keys = {"root": ["a", "b", "c"], "targets": ["b", "c", "d"], "snapshot": ["a", "d"], "timestamp": ["d", "b"]}
    m.thresholds = {"root": 2, "targets": 3, "snapshot": 2, "timestamp": 2}
    m.delegate("targets", "team", ["a", "b", "c"], threshold=2, paths=["team/*"])
    m.target("team/a.txt", b"team", role="team")


@kind
def one_key_for_all(m):
    m.role_keys = {role: ["only"] for role in m.role_keys}
    m.delegate("targets", "team", ["only"], paths=["team/*"])
    m.target("team/a.txt", b"team", role="team")


@kind
def separate_keys(m):
    m.role_keys = {role: [role] for role in m.role_keys}


@kind
def keys_with_members(m):
    m.key("root")
    m.key("online")
    for use in ["root", "online"]:
        signer = m.signers[use]
        members = {"x-tuf-on-ci-keyowner": "@ann", "keyid_hash_algorithms": ["sha256", "sha512"]}
        m.signers[use] = CryptoSigner(signer._private_key, respelled(signer.public_key, **members))


@kind
def keyids_that_are_no_hashes(m):
    for use, keyid in {"root": "ann's key", "online": "0" * 64, "team": "Team/é"}.items():
        signer = m.key(use)
        m.signers[use] = CryptoSigner(signer._private_key, respelled(signer.public_key, keyid=keyid))
    m.delegate("targets", "team", ["team"], paths=["team/*"])
    m.target("team/a.txt", b"team", role="team")
    m.reads = "not-tough"


group("schemes")


@kind
def rsa_pss_of_other_digests(m):
    for use, digest in {"root": 512, "online": 384, "team": 512, "other": 256}.items():
        m.key(use, f"rsa-2048/rsassa-pss-sha{digest}")
    m.delegate("targets", "team", ["team", "other"], threshold=2, paths=["team/*"])
    m.target("team/a.txt", b"team", role="team")
    m.reads = "python"


@kind
def rsa_pkcs1v15(m):
    for use, digest in {"root": 256, "online": 512, "team": 384, "other": 256}.items():
        m.key(use, f"rsa-2048/rsa-pkcs1v15-sha{digest}")
    m.delegate("targets", "team", ["team", "other"], threshold=2, paths=["team/*"])
    m.target("team/a.txt", b"team", role="team")
    m.reads = "python"


@kind
def a_key_of_the_future(m):
    """A key of a scheme that nobody but python-tuf has, beside those that sign."""
    m.key("future", "ml-dsa")
    m.role_keys["root"] = ["root", "future"]
    m.role_keys["targets"] = ["online", "future"]
    m.reads = "python"


@kind
def openpgp_keys_beside_others(m):
    """Keys that sign with gpg: of stock clients python-tuf alone reads the file."""
    rsa = {"private": "", "public": {"e": "010001", "n": "da" * 256}}
    eddsa = {"private": "", "public": {"q": "aa" * 32}}
    keys = {
        "root": GPGKey("8465a1e2e0fb2b40adb2478e18fb3f537e0c8a17", "rsa", "pgp+rsa-pkcsv1.5", rsa),
        "targets": GPGKey("c5a0abe6ec19d0d65f85e2c39be9df5131d924e9", "eddsa", "pgp+eddsa-ed25519", eddsa),
    }
    m.before_root = lambda root, version: [root.add_key(key, role) for role, key in keys.items()]
    m.reads = "python"


@kind
def rsa_in_the_armour_of_pkcs1(m):
    for use in ("root", "online"):
        signer = m.key(use, "rsa-2048")
        pem = signer._private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode()
        m.signers[use] = CryptoSigner(signer._private_key, respelled(signer.public_key, keyval={"public": pem}))
    m.reads = "python"


group("p521")


@kind
def ecdsa_p521_everywhere(m):
    all_of(m, "ecdsa-p521")
    m.reads = "python"


@kind
def old_ecdsa_keytypes_of_larger_curves(m):
    m.key("root", "ecdsa-p384/ecdsa-sha2-nistp384!ecdsa-sha2-nistp384")
    m.key("online", "ecdsa-p521/ecdsa-sha2-nistp521!ecdsa-sha2-nistp521")
    m.reads = "python"


group("signatures")


@kind
def strangers_signatures(m):
    def more(signatures):
        signatures.insert(0, {"keyid": "ab" * 32, "sig": "00" * 64})
        signatures.append({"keyid": "cd" * 32, "sig": ""})

    m.signature_tricks = {name: more for name in ["root", "targets", "snapshot", "timestamp", "team"]}
    m.delegate("targets", "team", ["team"], paths=["team/*"])
    m.target("team/a.txt", b"team", role="team")


@kind
def bad_and_empty_signatures_beside_good(m):
    m.role_keys = {role: ["a", "b", "c"] for role in m.role_keys}

    def spoil(signatures):
        signatures[1]["sig"] = "00" * 64
        signatures[2]["sig"] = ""

    m.signature_tricks = {name: spoil for name in m.role_keys}


@kind
def signatures_with_members(m):
    def more(signatures):
        signatures[0]["x-when"] = "yesterday"

    m.signature_tricks = {name: more for name in m.role_keys}


@kind
def inconsistent(m):
    m.consistent = False
    m.delegate("targets", "team", ["team"], paths=["team/*", "team/*/*"])
    m.target("team/deep/a.txt", b"team", role="team")


@kind
def consistent_snapshot_absent(m):
    m.consistent = False
    m.before_root = lambda root, version: setattr(root, "consistent_snapshot", None)
    m.reads = "python"


@kind
def hashes_and_lengths(m):
    m.meta_hashes = {"snapshot": ["sha256", "sha512"], "timestamp": ["sha256", "sha512"]}
    m.delegate("targets", "team", ["team"], paths=["team/*"])
    m.target("team/a.txt", b"team", role="team")


@kind
def sha512_alone(m):
    m.meta_hashes = {"snapshot": ["sha512"], "timestamp": ["sha512"]}
    m.target_hashes = ["sha512"]
    m.files.clear(), m.published.clear(), m.roles["targets"].targets.clear()
    m.target("app.txt", b"hello")
    m.reads = "not-tough"


@kind
def lengths_alone(m):
    m.meta_hashes = {"snapshot": [], "timestamp": []}
    m.reads = "all"


@kind
def two_hashes_of_targets(m):
    m.target_hashes = ["sha256", "sha512"]
    m.target("two.txt", b"two")
    m.target("dir/two.txt", b"two of dir")


@kind
def odd_hashes_of_targets(m):
    m.target("blake.txt", b"blake", hashes=["sha256", "sha224"])
    m.target("three.txt", b"three", hashes=["sha384", "sha256", "sha512"])


group("members")


@kind
def members_at_every_level(m):
    odd = {"x": [1, {"é": None}, True, "\u2028\u0007\"\\"], "negative": -5, "": {}, "big": 2**53 - 1}
    m.signed_extra = {role: {"x-own": odd} for role in ["root", "snapshot", "timestamp"]}
    m.roles["targets"].unrecognized_fields["x-own"] = odd
    m.target("custom.txt", b"custom", custom={"by": "ann", "deep": {"er": []}}, **{"x-target": odd})
    role = m.delegate("targets", "team", ["team"], paths=["team/*"])
    role.unrecognized_fields["x-role"] = odd
    m.roles["targets"].delegations.unrecognized_fields["x-delegations"] = odd
    m.before_root = lambda root, version: [role.unrecognized_fields.update(odd) for role in root.roles.values()]

    def entries(snapshot):
        for file in snapshot.meta.values():
            file.unrecognized_fields["x-entry"] = odd

    m.tweak_snapshot = entries
    m.edit_document = {
        name: lambda document: document.update({"x-unsigned": {"note": 1}}) for name in ["root", "targets", "snapshot", "timestamp"]
    }
    m.reads = "not-tough"


@kind
def names_of_targets(m):
    for name in ["é/ü ñ.txt", "with space.txt", "a/b/c/d/e/deep.txt", ".hidden", "dir/.hidden", "日本.txt", "UPPER.TXT", "a+b=c@d,e;f!'()$&~.txt"]:
        m.target(name, name.encode())
    m.reads = "not-tough"


@kind
def names_that_cannot_be_fetched(m):
    m.target("what?.txt", b"1")
    m.target("per%20cent.txt", b"2")
    m.target("ha#sh.txt", b"3")
    m.unfetchable = ["what?.txt", "per%20cent.txt", "ha#sh.txt"]


@kind
def versions_that_are_large(m):
    m.versions = {"targets": 10**9, "snapshot": 2 * 10**9, "timestamp": 2**31 + 5}
    m.delegate("targets", "team", ["team"], paths=["team/*"])
    m.roles["team"].version = 4 * 10**9
    m.target("team/a.txt", b"team", role="team")


@kind
def expired(m):
    m.expires = {role: NOW - timedelta(days=400) for role in ["targets", "snapshot", "timestamp", "team"]}
    m.delegate("targets", "team", ["team"], paths=["team/*"])
    m.target("team/a.txt", b"team", role="team")
    m.refresh = False
    m.notes = {"bump": ["team"]}


@kind
def expired_root(m):
    m.expires = {"root": NOW - timedelta(days=4000)}
    m.refresh = False
    m.notes = {"bump": ["root"]}


@kind
def valid_for_ages(m):
    m.expires = {role: NOW.replace(year=9999) for role in ["root", "targets", "snapshot", "timestamp"]}


@kind
def spec_versions(m):
    m.spec = {"root": "1.0.0", "targets": "1.0.34", "snapshot": "1.1", "timestamp": "1.99.7"}


@kind
def spec_version_short(m):
    m.spec = {role: "1.0" for role in m.role_keys}


@kind
def written_indented(m):
    m.write = indented
    m.meta_hashes = {"snapshot": ["sha256"], "timestamp": ["sha256"]}
    deep(m)


@kind
def written_with_tabs_and_crlf(m):
    m.write = tabbed_crlf
    deep(m)


@kind
def written_with_escapes(m):
    m.write = escaped
    m.reads = "not-tough"
    m.target("é/ü.txt", b"escaped", custom={"ü": "ö\U0001f600"})
    m.delegate("targets", "équipe/1", ["team"], paths=["é/*"])


@kind
def written_backwards(m):
    m.write = backwards
    deep(m)


group("delegations")


def deep(m):
    m.delegate("targets", "one", ["one"], paths=["one/*", "one/*/*", "one/*/*/*"])
    m.delegate("one", "two", ["two", "zwei"], threshold=2, paths=["one/two/*", "one/two/*/*"])
    m.delegate("two", "three", ["three"], paths=["one/two/three/*"])
    m.target("one/1.txt", b"1", role="one")
    m.target("one/two/2.txt", b"2", role="two")
    m.target("one/two/three/3.txt", b"3", role="three")


@kind
def nested_three_deep(m):
    deep(m)


@kind
def terminating_and_overlapping(m):
    m.delegate("targets", "first", ["first"], paths=["shared/*"])
    m.delegate("targets", "second", ["second"], paths=["shared/*", "own/*"], terminating=True)
    m.delegate("targets", "third", ["third"], paths=["shared/*", "third/*"])
    m.target("shared/a.txt", b"first", role="first")
    m.target("shared/b.txt", b"second", role="second")
    m.target("third/c.txt", b"third", role="third")


@kind
def patterns_of_all_sorts(m):
    m.delegate("targets", "team", ["team"], paths=["[ab]/x?.txt", "c/*.tar.*", "d/e", "*-[!0-9].bin"])
    m.target("a/x1.txt", b"1", role="team")
    m.target("c/x.tar.gz", b"2", role="team")
    m.target("d/e", b"3", role="team")


@kind
def two_parents_of_one_role(m):
    m.delegate("targets", "left", ["left"], paths=["x/*"])
    m.delegate("targets", "right", ["right"], paths=["x/*", "y/*"])
    m.delegate("left", "shared", ["shared"], paths=["x/*"])
    m.delegate("right", "shared", ["shared", "other"], paths=["x/*", "y/*"])
    m.signed_by["shared"] = ["shared", "other"]
    m.target("x/1.txt", b"1", role="shared")
    m.target("y/2.txt", b"2", role="shared")
    m.reads = "not-tough"


@kind
def a_circle_of_delegations(m):
    m.delegate("targets", "ping", ["ping"], paths=["*/*"])
    m.delegate("ping", "pong", ["pong"], paths=["*/*"])
    m.delegate("pong", "ping", ["ping"], paths=["*/*"])
    m.target("x/1.txt", b"1", role="pong")
    m.reads = "not-tough"


@kind
def hash_prefix_bins(m):
    for bin in range(16):
        m.delegate("targets", f"bin-{bin:x}", ["bins"], path_hash_prefixes=[f"{bin:x}"])
    into_bins(m, lambda path: f"bin-{hashlib.sha256(path.encode()).hexdigest()[0]}")


@kind
def uneven_hash_prefix_bins(m):
    m.delegate("targets", "low", ["bins"], path_hash_prefixes=[f"{n:02x}" for n in range(0x60)], terminating=True)
    m.delegate("targets", "high", ["bins", "high"], path_hash_prefixes=["6", "7", "8", "9", "abcd", "a", "b", "c", "d", "e", "f"])
    m.delegate("targets", "never", ["never"], path_hash_prefixes=["ABCD", ""])
    m.signed_by["never"] = ["never"]
    into_bins(m, lambda path: "low" if hashlib.sha256(path.encode()).hexdigest() < "6" else "high")
    m.reads = "not-tough"


def into_bins(m, bin_of):
    for number in range(12):
        path = f"files/{number}.txt"
        m.target(path, path.encode(), role=bin_of(path))


@kind
def succinct_bins_2(m):
    succinct(m, 1, "b")


@kind
def succinct_bins_32(m):
    succinct(m, 5, "pre-fix")


@kind
def succinct_bins_256(m):
    succinct(m, 8, "bin")


def succinct(m, bits, prefix):
    m.notes = {"bins": prefix}
    bins = m.bins("targets", prefix, bits, ["bins"])
    into_bins(m, bins.get_role_for_target)
    m.reads = "not-tough"


@kind
def succinct_bins_below_a_role(m):
    m.delegate("targets", "team", ["team"], paths=["files/*"], terminating=True)
    bins = m.bins("team", "bin", 2, ["bins", "bins2"], threshold=2)
    into_bins(m, bins.get_role_for_target)
    m.reads = "not-tough"


@kind
def names_of_roles(m):
    """Files as web servers find them, which decode what clients ask for."""
    m.role_file = str
    m.reads = "not-tough"
    for number, name in enumerate(["a role", "a/b", "équipe", "v1.2", "3.x", "..", "1.targets", "ROOT", "x.json", "a?b#c"]):
        m.delegate("targets", name, [f"k{number}"], paths=[f"r{number}/*"])
        m.target(f"r{number}/a.txt", name.encode(), role=name)


@kind
def names_of_roles_encoded(m):
    """Files as tough writes and reads them."""
    for number, name in enumerate(["a role", "a/b", "équipe", "%41", "100%"]):
        m.delegate("targets", name, [f"k{number}"], paths=[f"r{number}/*"])
    m.reads = "tough"


@kind
def a_role_that_is_listed_only(m):
    m.delegate("targets", "team", ["team"], paths=["team/*"])
    m.target("team/a.txt", b"team", role="team")
    m.also_listed = {"gone": 7, "old/team": 3}


@kind
def a_role_that_is_not_there_yet(m):
    m.delegate("targets", "team", ["team"], paths=["team/*"])
    m.delegate("targets", "later", ["later"], paths=["later/*"])
    m.unlisted = ["later"]
    m.target("team/a.txt", b"team", role="team")
    m.reads = "not-tough"


@kind
def empty_delegations(m):
    from tuf.api.metadata import Delegations

    m.roles["targets"].delegations = Delegations({}, {})


@kind
def no_targets_at_all(m):
    m.files.clear()
    m.published.clear()
    m.roles["targets"].targets.clear()


@kind
def a_threshold_nobody_meets_yet(m):
    """A delegated role whose threshold is above its number of keys: no metadata of it can be good."""
    m.delegate("targets", "team", ["team"], paths=["team/*"])
    m.delegate("targets", "later", ["later"], threshold=3, paths=["later/*"])
    m.unlisted = ["later"]
    m.target("team/a.txt", b"team", role="team")
    m.reads = "not-tough"


group("parents")


def parents(m, both):
    """A role that two parents delegate to with different keys; a client asks for the keys of the one that led it there."""
    m.delegate("targets", "left", ["left"], paths=["l/*", "d/*"])
    m.delegate("targets", "right", ["right"], paths=["r/*", "d/*"])
    m.delegate("left", "deep", ["six"], paths=["l/*", "d/*"])
    m.delegate("right", "deep", ["seven"], paths=["r/*", "d/*"])
    m.signed_by["deep"] = ["six", "seven"] if both else ["six"]
    m.target("d/0.txt", b"0", role="deep")


@kind
def other_keys_by_each_parent(m):
    parents(m, both=True)


@kind
def other_keys_by_each_parent_found_by_each(m):
    parents(m, both=True)
    m.target("l/1.txt", b"1", role="deep")
    m.target("r/2.txt", b"2", role="deep")
    m.reads = "not-tough"


@kind
def signed_for_one_parent_alone(m):
    parents(m, both=False)
    m.target("l/1.txt", b"1", role="deep")
    m.target("r/2.txt", b"2", role="deep")
    m.unfetchable = ["r/2.txt"]
    m.reads = "not-tough"


@kind
def three_parents_with_thresholds(m):
    for at, uses, threshold in [("a", ["k1", "k2"], 2), ("b", ["k2", "k3"], 1), ("c", ["k3", "k4", "k5"], 2)]:
        m.delegate("targets", at, [at], paths=["d/*"])
        m.delegate(at, "deep", uses, threshold, paths=["d/*"])
    m.signed_by["deep"] = ["k1", "k2", "k3", "k4"]
    m.target("d/0.txt", b"0", role="deep")


group("short")


def short(m):
    """A delegated role that clients cannot use, beside one that they can."""
    m.delegate("targets", "team", ["team"], paths=["team/*", "team/*/*"])
    m.delegate("targets", "other", ["other"], paths=["other/*"])
    m.target("team/a.txt", b"team", role="team")
    m.target("other/b.txt", b"other", role="other")
    m.unfetchable = ["team/a.txt"]
    m.reads = "not-tough"


@kind
def a_role_whose_last_key_was_revoked(m):
    short(m)
    targets = m.roles["targets"]
    targets.revoke_key(m.public("team").keyid, "team")


@kind
def a_role_whose_threshold_is_above_its_keys(m):
    short(m)
    m.roles["targets"].delegations.roles["team"].threshold = 3


@kind
def a_role_that_was_not_signed_by_its_new_key(m):
    short(m)
    targets = m.roles["targets"]
    targets.revoke_key(m.public("team").keyid, "team")
    targets.add_key(m.public("new"), "team")


@kind
def a_role_that_is_short_with_roles_below_it(m):
    a_role_that_was_not_signed_by_its_new_key(m)
    m.meta_hashes = {"snapshot": ["sha256"], "timestamp": ["sha256"]}
    m.delegate("team", "below", ["below"], paths=["team/below/*"])
    m.target("team/below/c.txt", b"below", role="below")
    m.unfetchable.append("team/below/c.txt")


group("more-delegations")


@kind
def nested_five_deep_with_thresholds(m):
    above, path = "targets", ""
    for depth in range(1, 6):
        name, path = f"level{depth}", f"{path}d{depth}/"
        paths = [f"{path}{'*/' * more}*" for more in range(6 - depth)]
        uses = [f"{name}-{at}" for at in range(depth)]
        m.delegate(above, name, uses, threshold=(depth + 1) // 2, paths=paths, terminating=depth % 2 == 0)
        m.target(f"{path}{depth}.txt", name.encode(), role=name)
        above = name


@kind
def delegations_with_odd_parts(m):
    """Keys that no role has, a role without paths, one that may have anything, one whose keys are those of its parent."""
    m.delegate("targets", "nothing", ["nothing"], paths=[])
    m.delegate("targets", "same", ["online"], paths=["same/*"])
    m.delegate("targets", "any", ["any"], paths=["*", "*/*", "*/*/*"])
    for use in ["spare-a", "spare-b"]:
        key = m.public(use)
        m.roles["targets"].delegations.keys[key.keyid] = key
    m.delegate("any", "below", ["nothing", "any"], threshold=2, paths=["below/*"])
    m.target("same/1.txt", b"1", role="same")
    m.target("x/y/2.txt", b"2", role="any")
    m.target("below/3.txt", b"3", role="below")


@kind
def a_role_delegated_at_two_depths(m):
    m.delegate("targets", "one", ["one"], paths=["d/*"])
    m.delegate("targets", "two", ["two"], paths=["d/*"])
    m.delegate("one", "two", ["two"], paths=["d/*"])
    m.target("d/1.txt", b"1", role="two")


@kind
def bins_that_delegate(m):
    for at in range(4):
        prefixes = [f"{digit:x}" for digit in range(at * 4, at * 4 + 4)]
        m.delegate("targets", f"bin{at}", ["bins"], path_hash_prefixes=prefixes)
        m.delegate(f"bin{at}", f"below{at}", ["below"], paths=["files/*"])
    into_bins(m, lambda path: f"below{int(hashlib.sha256(path.encode()).hexdigest()[0], 16) // 4}")
    m.reads = "not-tough"


@kind
def bins_that_delegate_one_role_with_other_keys(m):
    for at, prefixes in enumerate(["01234567", "89abcdef"]):
        m.delegate("targets", f"half{at}", [f"half{at}"], path_hash_prefixes=list(prefixes))
        m.delegate(f"half{at}", "shared", [f"of{at}"], paths=["files/*"])
    m.signed_by["shared"] = ["of0", "of1"]
    into_bins(m, lambda path: "shared")
    m.reads = "not-tough"


@kind
def succinct_bins_8_with_thresholds(m):
    m.notes = {"bins": "t"}
    bins = m.bins("targets", "t", 3, ["a", "b", "c"], threshold=2)
    into_bins(m, bins.get_role_for_target)
    m.reads = "not-tough"


@kind
def succinct_bins_1024(m):
    succinct(m, 10, "many")


@kind
def succinct_bins_with_an_odd_prefix(m):
    m.role_file = str
    succinct(m, 2, "bins é")


@kind
def long_names_of_roles(m):
    name = "long-" + "x" * 240
    m.delegate("targets", name, ["long"], paths=["long/*"])
    m.target("long/a.txt", b"long", role=name)


group("more-files")


@kind
def entries_of_every_form_in_one_snapshot(m):
    for name in ["a", "b", "c", "d"]:
        m.delegate("targets", name, [name], paths=[f"{name}/*"])
        m.target(f"{name}/1.txt", name.encode(), role=name)
    m.meta_hashes = {"snapshot": ["sha256", "sha512"], "timestamp": ["sha256"]}

    def tweak(snapshot):
        snapshot.meta["a.json"].hashes = None
        snapshot.meta["b.json"].length = None
        snapshot.meta["c.json"].hashes = snapshot.meta["c.json"].length = None
        del snapshot.meta["d.json"].hashes["sha256"]

    m.tweak_snapshot = tweak
    m.reads = "not-tough"


@kind
def a_snapshot_that_lists_root(m):
    """As python-tuf did before 1.0."""
    m.also_listed = {"root": 1}


@kind
def digests_of_other_kinds(m):
    m.target("three.txt", b"three", hashes=["sha384"])
    m.target("keccak.txt", b"keccak", hashes=["sha3-256"])
    m.target("cut.txt", b"cut", hashes=["sha512-256", "sha384"])
    m.delegate("targets", "team", ["team"], paths=["team/*"])
    m.target("team/a.txt", b"team", role="team", hashes=["sha1", "blake2b512"])
    m.meta_hashes = {"snapshot": ["sha384"], "timestamp": ["md5", "sha3-512"]}
    m.reads = "not-tough"


@kind
def digests_that_only_python_knows(m):
    m.target("three.txt", b"three", hashes=["sha3_384"])
    m.target("blake.txt", b"blake", hashes=["blake2b-256"])
    m.delegate("targets", "team", ["team"], paths=["team/*"])
    m.target("team/a.txt", b"team", role="team", hashes=["blake2s", "sha512_256"])
    m.meta_hashes = {"snapshot": ["blake2b"], "timestamp": ["sha3_256"]}
    m.reads = "python"


@kind
def digests_that_do_not_count(m):
    for name in ["md5", "sha1", "sha224"]:
        m.target(f"{name}.txt", name.encode(), hashes=[name])
    m.reads = "not-tough"
    m.notes = {"verifies": False}


@kind
def versions_far_apart(m):
    m.versions = {"targets": 70, "snapshot": 4000, "timestamp": 3}
    m.delegate("targets", "team", ["team"], paths=["team/*"])
    m.roles["team"].version = 900
    m.target("team/a.txt", b"team", role="team")


@kind
def one_key_under_two_keyids(m):
    for use in ["online", "team"]:
        signer = m.key(use)
        again = respelled(signer.public_key, **{"x-again": True})
        m.signers[f"{use}-again"] = CryptoSigner(signer._private_key, again)
    m.role_keys["targets"] = ["online", "online-again", "other"]
    m.thresholds["targets"] = 2
    m.delegate("targets", "team", ["team", "team-again"], paths=["team/*"])
    m.target("team/a.txt", b"team", role="team")
    m.notes = {"import": ["root", "online", "other", "team"]}


@kind
def files_of_any_size(m):
    m.target("empty.bin", b"")
    m.target("large.bin", bytes(range(256)) * 4096)
    m.target("dir.with.dots/a..b...txt", b"dots")


@kind
def without_consistent_snapshots_and_with_odd_roles(m):
    m.consistent = False
    m.role_file = str
    m.reads = "not-tough"
    m.delegate("targets", "a role/é", ["odd"], paths=["odd/*"])
    m.target("odd/a.txt", b"odd", role="a role/é")
    bins = m.bins("a role/é", "bin", 2, ["bins"])
    m.target("plain.txt", b"plain")


group("more-roots")


@kind
def ten_roots(m):
    m.roots = 10

    def rotate(root, version):
        m.role_keys["root"] = [f"r{at}" for at in range(version // 3, version // 3 + 1 + version // 4)]
        m.thresholds["root"] = 1 + version // 5
        m.role_keys["snapshot"] = [f"s{version // 5}"]

    m.before_root = rotate


@kind
def a_root_whose_keys_are_of_many_types(m):
    kinds = {"a": "ed25519", "b": "ecdsa-p256", "c": "rsa-2048", "d": "rsa-3072", "e": "ed25519", "f": "ecdsa-p256"}
    for use, kind in kinds.items():
        m.key(use, kind)
    m.role_keys["root"] = list(kinds)
    m.thresholds["root"] = 4
    m.roots = 3

    def one_fewer(root, version):
        m.role_keys["root"] = list(kinds)[: 7 - version]

    m.before_root = one_fewer


@kind
def consistent_snapshots_since_the_second_root(m):
    m.roots = 2

    def switch(root, version):
        root.consistent_snapshot = version == 2

    m.before_root = switch


group("oddities")


@kind
def integers_beyond_what_javascript_reads(m):
    m.target("large.txt", b"large", custom={"id": 2**53, "more": [-(2**64), 10**40]}, **{"x-number": 2**63})
    m.signed_extra = {role: {"x-number": 2**60 + 1} for role in ["root", "snapshot", "timestamp"]}
    m.delegate("targets", "team", ["team"], paths=["team/*"])
    m.roles["team"].unrecognized_fields["x-number"] = 2**53
    m.target("team/a.txt", b"team", role="team")
    m.reads = "python"


@kind
def custom_that_is_no_object(m):
    for number, custom in enumerate(["text", ["list", 1], 7, True, None]):
        m.target(f"{number}.txt", str(number).encode(), custom=custom)
    m.reads = "not-tough"


@kind
def names_of_roles_with_control_characters(m):
    """Encoded, as clients ask for them."""
    for number, name in enumerate(["line\nbreak", "tab\tand\rreturn", "bell\u0007", "\u007f", "c1\u0085\u009b31m", "\u202ertl"]):
        m.delegate("targets", name, [f"k{number}"], paths=[f"r{number}/*"])
        m.target(f"r{number}/a.txt", name.encode(), role=name)
    m.role_file = str
    m.reads = "not-tough"


group("roots")


@kind
def five_roots_with_rotated_keys(m):
    m.roots = 5

    def rotate(root, version):
        m.role_keys["root"] = [f"root{version // 2}", f"root{version // 2 + 1}"]
        m.thresholds["root"] = 1 if version < 3 else 2
        m.role_keys["timestamp"] = ["online" if version < 4 else "time"]
        root.expires = NOW - timedelta(days=1000 - version) if version < 5 else root.expires

    m.before_root = rotate


@kind
def roots_from_the_third_on(m):
    five_roots_with_rotated_keys(m)
    m.first_kept_root = 3
    m.notes = {"first_root": 3}


@kind
def keys_that_no_role_uses(m):
    def more(root, version):
        key = m.public("spare")
        root.keys[key.keyid] = key

    m.before_root = more


@kind
def like_tuftool(m):
    m.write = indented
    m.meta_hashes = {"snapshot": ["sha256"], "timestamp": ["sha256"]}
    m.key("root", "rsa-2048")
    m.role_keys = {role: ["root"] for role in m.role_keys}


@kind
def like_rstuf(m):
    m.role_keys["root"] = ["ann", "ben", "cy"]
    m.thresholds = {"root": 2}
    m.role_keys["targets"] = ["online"]
    bins = m.bins("targets", "bins", 4, ["online"])
    m.notes = {"bins": "bins"}
    into_bins(m, bins.get_role_for_target)
    m.write = indented
    m.reads = "not-tough"


@kind
def like_tuf_on_ci(m):
    for use in ["ann", "ben", "online"]:
        signer = m.key(use, "ecdsa-p256")
        owner = {"x-tuf-on-ci-online-uri": "gcpkms:x"} if use == "online" else {"x-tuf-on-ci-keyowner": f"@{use}"}
        m.signers[use] = CryptoSigner(signer._private_key, respelled(signer.public_key, **owner))
    m.role_keys = {"root": ["ann", "ben"], "targets": ["ann", "ben"], "snapshot": ["online"], "timestamp": ["online"]}
    periods = {"x-tuf-on-ci-expiry-period": 120, "x-tuf-on-ci-signing-period": 30}
    m.signed_extra = {"root": periods}
    m.roles["targets"].unrecognized_fields.update(periods)
    online = {"x-tuf-on-ci-expiry-period": 4, "x-tuf-on-ci-signing-period": 2}
    m.before_root = lambda root, version: [root.roles[r].unrecognized_fields.update(online) for r in ["snapshot", "timestamp"]]

    def forget(signatures):
        signatures[1]["sig"] = ""

    m.signature_tricks = {"root": forget, "targets": forget}
    m.write = indented


KINDS.update(strangers_rare.KINDS)
GROUPS.update(strangers_rare.GROUPS)


def main():
    out, *names = sys.argv[1:]
    made = []
    for name in [kind for name in names or GROUPS for kind in GROUPS.get(name, [name])]:
        maker = Maker(name)
        KINDS[name](maker)
        maker.publish(out)
        made.append(maker.description())
    print(json.dumps(made))


if __name__ == "__main__":
    main()
