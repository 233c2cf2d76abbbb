"""Judges a published repository with python-tuf's ngclient.

usage: python_tuf_client.py REPOSITORY MEMORY TARGET...

MEMORY keeps what the client last trusted; when it is empty, metadata/1.root.json is trusted.
Prints one JSON object and exits 0 when all is accepted; exits 3 with the complaint when not.
"""

import json
import os
import sys
from urllib.parse import unquote, urlsplit

from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater


class Folder(FetcherInterface):
    """Reads file: addresses; a missing file is a 404, as on a web server."""

    def _fetch(self, url):
        path = unquote(urlsplit(url).path)
        try:
            with open(path, "rb") as file:
                return iter([file.read()])
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DownloadHTTPError(f"{path} is not there", 404) from error


def update(repository, memory, targets):
    metadata_dir = os.path.join(memory, "metadata")
    target_dir = os.path.join(memory, "targets")
    remembers = os.path.exists(os.path.join(metadata_dir, "root.json"))
    os.makedirs(metadata_dir, exist_ok=True)
    os.makedirs(target_dir, exist_ok=True)
    first = None
    if not remembers:
        with open(os.path.join(repository, "metadata", "1.root.json"), "rb") as file:
            first = file.read()
    updater = Updater(
        metadata_dir,
        f"file://{repository}/metadata/",
        target_dir,
        f"file://{repository}/targets/",
        fetcher=Folder(),
        bootstrap=first,
    )
    updater.refresh()
    for target in targets:
        info = updater.get_targetinfo(target)
        if info is None:
            raise RepositoryError(f"{target} is in no role")
        updater.download_target(info)
    trusted = updater._trusted_set
    return {"root": trusted.root.version, "snapshot": trusted.snapshot.version, "timestamp": trusted.timestamp.version}


def main():
    repository, memory, *targets = sys.argv[1:]
    try:
        print(json.dumps(update(os.path.abspath(repository), memory, targets)))
    except (RepositoryError, DownloadError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(3)


if __name__ == "__main__":
    main()
