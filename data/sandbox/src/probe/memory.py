# Four processes that take memory, each started in another way; together they are one too many.
import os, sys, threading, time

EACH = int(sys.stdin.read())
taken, took = os.pipe()


def take():
    data = bytearray(b"x") * EACH
    os.write(took, b"x")
    time.sleep(60)
    os._exit(len(data) == 0)


def child():
    if os.fork() == 0:
        take()


def grandchild():
    if os.fork() == 0:
        child()
        time.sleep(60)
        os._exit(0)


def orphan():
    parent = os.fork()
    if parent == 0:
        os.setsid()
        child()
        os._exit(0)
    os.waitpid(parent, 0)


def by_thread():
    child()
    time.sleep(60)


threading.Thread(target=by_thread, daemon=True).start()
child()
grandchild()
orphan()
for _ in range(4):
    os.read(taken, 1)
# So long for a watch to notice.
time.sleep(5)
print("alive", flush=True)
os._exit(0)
