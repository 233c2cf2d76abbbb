"""Loads and verifies targets with python-tuf; prints milliseconds and the process's peak in KiB.

usage: python_load.py DIR
"""

import os
import resource
import sys
import time

from tuf.api.metadata import Metadata, Root

directory = os.path.join(sys.argv[1], "metadata")
root = Metadata[Root].from_file(os.path.join(directory, "1.root.json"))
began = time.perf_counter()
targets = Metadata.from_file(os.path.join(directory, "1.targets.json"))
root.signed.verify_delegate("targets", targets.signed_bytes, targets.signatures)
elapsed = time.perf_counter() - began
print(elapsed * 1e3, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
