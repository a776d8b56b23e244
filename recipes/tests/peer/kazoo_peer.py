"""kazoo behind a pipe: one JSON command a line, one JSON answer a line."""
import json
import sys

from kazoo.client import KazooClient
from kazoo.exceptions import LockTimeout
from kazoo.recipe.lock import Lock, ReadLock, Semaphore, WriteLock

zk = KazooClient(hosts=sys.argv[1], timeout=20)
zk.start(20)
held = {}


def lock(kind, path, name, arguments):
    if kind == "lock":
        return Lock(zk, path, name, **arguments)
    if kind == "read":
        return ReadLock(zk, path, name)
    if kind == "write":
        return WriteLock(zk, path, name)
    return Semaphore(zk, path, name, **arguments)


def acquire(kind, path, name, blocking=True, timeout=None, **arguments):
    made = held.setdefault(name, lock(kind, path, name, arguments))
    try:
        return bool(made.acquire(blocking=blocking, timeout=timeout))
    except LockTimeout:
        return False


def release(name):
    held.pop(name).release()
    return True


def contenders(kind, path):
    return list(lock(kind, path, "observer", {}).contenders())


def elect(path, name):
    led = []
    zk.Election(path, name).run(lambda: led.append(True))
    return bool(led)


def barrier(path, do, timeout=None):
    made = zk.Barrier(path)
    if do == "create":
        return made.create()
    if do == "remove":
        return made.remove()
    return bool(made.wait(timeout))


def double(path, name, count, do):
    made = held.setdefault(name, zk.DoubleBarrier(path, count, name))
    if do == "enter":
        made.enter()
    else:
        held.pop(name).leave()
    return True


def party(path, name, do, shallow=False):
    make = zk.ShallowParty if shallow else zk.Party
    made = held.setdefault(name, make(path, name))
    if do == "join":
        return made.join()
    if do == "leave":
        return held.pop(name).leave()
    return sorted(made)


COMMANDS = {
    "acquire": acquire,
    "release": release,
    "contenders": contenders,
    "elect": elect,
    "barrier": barrier,
    "double": double,
    "party": party,
}

for line in sys.stdin:
    command = json.loads(line)
    try:
        answer = {"ok": COMMANDS[command.pop("do_")](**command)}
    except Exception as error:  # told to the test, which knows what is to be
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
zk.stop()
