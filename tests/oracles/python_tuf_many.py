"""Judges many repositories in one run, each with python-tuf's ngclient and a memory of its own.

usage: python_tuf_many.py MEMORIES LIST

LIST is a JSON file: {"repositories": [folder, ...], "targets": [name, ...]}. Prints a JSON array: null where the
repository and all targets are accepted, else the complaint.
"""

import json
import os
import sys

from python_tuf_client import update


def judge(repository, memory, targets):
    os.makedirs(memory, exist_ok=True)
    try:
        update(os.path.abspath(repository), memory, targets)
    except Exception as error:  # whatever a client ends with, it does not accept
        return f"{type(error).__name__}: {error}"
    return None


def main():
    memories, listed = sys.argv[1:]
    with open(listed, encoding="utf-8") as file:
        wanted = json.load(file)
    numbered = enumerate(wanted["repositories"])
    print(json.dumps([judge(one, os.path.join(memories, str(n)), wanted["targets"]) for n, one in numbered]))


main()
