"""Prints the canonical forms that securesystemslib makes of the documents in a JSON list of texts."""

import json
import sys

from securesystemslib.formats import encode_canonical

with open(sys.argv[1], encoding="utf-8") as file:
    documents = json.load(file)
print(json.dumps([encode_canonical(json.loads(text)) for text in documents]))
