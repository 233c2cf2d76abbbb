"""Prints pages of HTML as WeasyPrint does, and says how many sheets of paper each takes.

usage: pages.py FONTS FILE.html...

All text is in the fonts of the folder FONTS, whatever the machine has. Prints one JSON document: for each file how many pages it
takes of each size of paper.
"""

import json
import os
import sys
import tempfile

FONTS_CONF = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig><dir>{fonts}</dir><cachedir>{cache}</cachedir></fontconfig>"""


def main(fonts, *files):
    with tempfile.TemporaryDirectory() as folder:
        configuration = os.path.join(folder, "fonts.conf")
        with open(configuration, "w") as target:
            target.write(FONTS_CONF.format(fonts=fonts, cache=folder))
        os.environ["FONTCONFIG_FILE"] = configuration
        from weasyprint import CSS, HTML

        def pages(file, size):
            return len(HTML(file).render(stylesheets=[CSS(string="@page{size:%s}" % size)]).pages)

        print(json.dumps({file: {size: pages(file, size) for size in ("A4", "Letter")} for file in files}))


main(*sys.argv[1:])
