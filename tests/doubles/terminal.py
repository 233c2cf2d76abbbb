"""A person at a terminal: runs a program on a pseudo-terminal and answers what it asks.

usage: terminal.py STEPS PROGRAM ARGUMENT...

STEPS is a JSON list of [EXPECTED, ANSWER]: when EXPECTED has appeared after the last answer, ANSWER is
typed. Of [EXPECTED, ANSWER, COMMAND] the shell runs COMMAND before that; CHILD is the program's process id, TERMINAL the
name of its terminal. Prints all that was on the screen, and "<left raw>" where the terminal was not put back, and exits
as the program does, as the shell says it; exits 99 when the program asks nothing of the kind for 20 seconds.
"""

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time

LIMIT = 20
# asm-generic/ioctls.h; Python has a name for it since 3.13.
TIOCGPTN = 0x80045430
SANE = termios.ECHO | termios.ICANON | termios.ISIG


def name_of(terminal):
    number = fcntl.ioctl(terminal, TIOCGPTN, bytes(4))
    return f"/dev/pts/{int.from_bytes(number, sys.byteorder)}"


def talk(steps, program):
    child, terminal = pty.fork()
    if child == 0:
        os.execv(program[0], program)
    variables = {**os.environ, "CHILD": str(child), "TERMINAL": name_of(terminal)}
    screen, seen = b"", 0
    end = time.monotonic() + LIMIT
    while True:
        if steps and steps[0][0].encode() in screen[seen:]:
            seen = len(screen)
            # What is typed before a question for a secret is ready is thrown away, as it should be.
            time.sleep(0.2)
            _, answer, *commands = steps.pop(0)
            for command in commands:
                subprocess.run(command, shell=True, check=True, env=variables)
            os.write(terminal, answer.encode())
            end = time.monotonic() + LIMIT
            continue
        ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
        if not ready:
            return 99, screen
        try:
            got = os.read(terminal, 65536)
        except OSError:
            got = b""
        if not got:
            break
        screen += got
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    # Who is killed so puts nothing back.
    if code != -signal.SIGKILL and termios.tcgetattr(terminal)[3] & SANE != SANE:
        screen += b"<left raw>"
    return (98 if steps else 128 - code if code < 0 else code), screen


code, screen = talk(json.loads(sys.argv[1]), sys.argv[2:])
sys.stdout.buffer.write(screen)
sys.exit(code)
