"""Judges a published repository with python-tuf's ngclient.

usage: python_tuf_client.py REPOSITORY MEMORY TARGET...
       python_tuf_client.py --batch CASES.json

MEMORY keeps what the client last trusted; when it is empty, the oldest N.root.json of metadata/ is trusted.
Prints one JSON object and exits 0 when all is accepted; exits 3 with the complaint when not. A batch is a list of
[REPOSITORY, MEMORY, [TARGET...]]; then a list comes out, of null or the complaint for each, and the exit code is 0.
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
        names = os.listdir(os.path.join(repository, "metadata"))
        oldest = min(int(name.partition(".")[0]) for name in names if name.endswith(".root.json"))
        with open(os.path.join(repository, "metadata", f"{oldest}.root.json"), "rb") as file:
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


def complaint(case):
    repository, memory, targets = case
    try:
        update(os.path.abspath(repository), memory, targets)
    except Exception as error:  # whatever it is: it did not accept
        return f"{type(error).__name__}: {error}"


def main():
    repository, memory, *targets = sys.argv[1:]
    if repository == "--batch":
        with open(memory, encoding="utf-8") as file:
            print(json.dumps([complaint(case) for case in json.load(file)]))
        return
    try:
        print(json.dumps(update(os.path.abspath(repository), memory, targets)))
    except (RepositoryError, DownloadError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(3)


if __name__ == "__main__":
    main()
