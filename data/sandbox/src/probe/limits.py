# Takes as much as it can of one thing. Where no limit ends it, it says how much it took.
import os, signal, sys, time

what, most = sys.stdin.read().split()
most = int(most)


def fill(path, most):
    """Writes so many bytes, if it may; returns how many it wrote."""
    written = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while written < most:
                written += file.write(bytes(1 << 20))
    except OSError:
        pass
    return written


if what == "cpu":
    while True:
        pass
elif what == "sleep":
    time.sleep(600)
elif what == "memory":
    bytearray(most)
    print(most)
elif what == "output":
    for _ in range(most >> 10):
        print("x" * 1023)
elif what == "file":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    print(fill("/box/file", most))
elif what == "folder":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    print(sum(fill(f"/box/{number}", most >> 4) for number in range(16)))
elif what == "files":
    made = 0
    try:
        for made in range(most):
            open(f"/box/{made}", "w").close()
        time.sleep(5)
    except OSError:
        pass
    print(made)
