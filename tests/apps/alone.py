"""Runs a shell command in a network of its own, where every port is free: alone.py URL COMMAND.

Prints the status with which URL answers, as soon as it does (503 while it starts is waited over), and ends the command.
Needs a network namespace around it."""

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request

SIOCSIFFLAGS = 0x8914
UP = 0x1

url, command = sys.argv[1:]
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", UP))
child = subprocess.Popen(["sh", "-eu", "-c", command], stdout=sys.stderr, start_new_session=True)
try:
    for _ in range(600):
        try:
            print(urllib.request.urlopen(url, timeout=5).status)
            break
        except urllib.error.HTTPError as refusal:
            if refusal.code != 503:
                print(refusal.code)
                break
            time.sleep(0.1)
        except OSError:
            if child.poll() is not None:
                sys.exit(f"it ended with {child.returncode}")
            time.sleep(0.1)
    else:
        sys.exit("nobody answered")
finally:
    # The shell and what it runs.
    os.killpg(child.pid, signal.SIGTERM)
    child.wait()
