"""The reference implementation of SLIP-0039 as a judge.

Standard input holds {"combine": [[mnemonics, passphrase], ...], "make": [{...}, ...]}; the answer on standard output
has, in the same order, the secret of each in hexadecimal (or null where it is refused), and groups of mnemonics.
"""

import json
import sys

from shamir_mnemonic import MnemonicError, combine_mnemonics, generate_mnemonics


def combined(mnemonics, passphrase):
    try:
        return combine_mnemonics(mnemonics, passphrase.encode()).hex()
    except MnemonicError:
        return None


def made(case):
    return generate_mnemonics(
        case["group_threshold"],
        [tuple(group) for group in case["groups"]],
        bytes.fromhex(case["secret"]),
        case["passphrase"].encode(),
        case["extendable"],
        case["exponent"],
    )


asked = json.load(sys.stdin)
answer = {
    "combine": [combined(*case) for case in asked["combine"]],
    "make": [made(case) for case in asked["make"]],
}
json.dump(answer, sys.stdout)
