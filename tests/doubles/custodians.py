"""Custodians at a terminal: runs a program on a pseudo-terminal that shows shares, copies the words of each from the screen
and types them back by four letters, the first of them wrongly at first.

usage: custodians.py COUNT PROGRAM ARGUMENT...

Prints what stayed on the screen after the last page, and exits as the program does; exits 99 when nothing comes for a minute.
"""

import os
import pty
import re
import select
import sys
import time

LIMIT = 60


class Screen:
    def __init__(self, terminal):
        self.terminal, self.seen = terminal, b""

    def until(self, text):
        """What came up to this text."""
        end = time.monotonic() + LIMIT
        while text not in self.seen:
            ready, _, _ = select.select([self.terminal], [], [], max(0, end - time.monotonic()))
            if not ready:
                sys.exit(99)
            self.seen += os.read(self.terminal, 65536)
        at = self.seen.index(text) + len(text)
        came, self.seen = self.seen[:at], self.seen[at:]
        return came

    def rest(self):
        while True:
            try:
                got = os.read(self.terminal, 65536)
            except OSError:
                return self.seen
            if not got:
                return self.seen
            self.seen += got


def main(count, program):
    child, terminal = pty.fork()
    if child == 0:
        os.execv(program[0], program)
    screen = Screen(terminal)
    for number in range(count):
        hidden = screen.until(b"Ctrl-C leaves.")
        assert not re.search(rb"\b33 (?!of )[a-z]+", hidden), "words before they were asked for"
        os.write(terminal, b"\n")
        page = screen.until(b"asked back.")
        page = page[page.rindex(b"\x1b[H"):]
        words = {int(place): word for place, word in re.findall(rb"(\d+) ([a-z]+)", page)}
        os.write(terminal, b"\n")
        cleared = screen.until(b"word  1 of 33: ")
        assert b"\x1b[2J\x1b[H\x1b[?1049l" in cleared, "the page was not cleared"
        if number == 0:
            os.write(terminal, b"acne " if words[1] != b"acne" else b"acid ")
            screen.until(b"is not word 1")
        os.write(terminal, b" ".join(words[place][:4] for place in range(1, 34)) + b" ")
    sys.stdout.buffer.write(screen.rest().rpartition(b"\x1b[?1049l")[2])
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
