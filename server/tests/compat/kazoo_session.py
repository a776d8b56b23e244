"""What programs do with kazoo, printed line by line. Arguments: addresses of a server."""

import sys
import threading

from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, NoAuthError, NodeExistsError, NoNodeError, NotEmptyError
from kazoo.protocol.states import KazooState
from kazoo.recipe.lock import Lock
from kazoo.recipe.queue import LockingQueue
from kazoo.security import make_digest_acl


def attempt(what, error):
    try:
        what()
    except error as caught:
        print("refused:", type(caught).__name__)
    else:
        print("not refused")


def client(hosts, **more):
    zk = KazooClient(hosts=hosts, timeout=20, **more)
    zk.start(timeout=20)
    return zk


def main(hosts):
    zk = client(hosts)
    print("connected:", zk.client_state, zk.client_id is not None)

    # Znodes.
    print(zk.create("/kazoo", b"one", makepath=True))
    attempt(lambda: zk.create("/kazoo"), NodeExistsError)
    print(zk.create("/kazoo/s-", sequence=True), zk.create("/kazoo/s-", ephemeral=True, sequence=True))
    path, stat = zk.create("/kazoo/both", b"two", include_data=True)
    print(path, stat.version, stat.dataLength)
    data, stat = zk.get("/kazoo")
    print(data, stat.version, stat.numChildren, stat.cversion)
    stat = zk.set("/kazoo", b"two", version=0)
    print(stat.version)
    attempt(lambda: zk.set("/kazoo", b"", version=0), BadVersionError)
    attempt(lambda: zk.get("/kazoo/none"), NoNodeError)
    attempt(lambda: zk.delete("/kazoo"), NotEmptyError)
    print(sorted(zk.get_children("/kazoo")), zk.exists("/kazoo/none"))
    children, stat = zk.get_children("/kazoo", include_data=True)
    print(len(children), stat.numChildren)
    print(zk.sync("/kazoo"))

    # Transactions.
    transaction = zk.transaction()
    transaction.check("/kazoo", 1)
    transaction.create("/kazoo/t", b"t")
    transaction.set_data("/kazoo/t", b"u")
    transaction.delete("/kazoo/t")
    print([type(result).__name__ for result in transaction.commit()])
    transaction = zk.transaction()
    transaction.create("/kazoo/t", b"t")
    transaction.check("/kazoo", 77)
    print([type(result).__name__ for result in transaction.commit()], zk.exists("/kazoo/t"))

    # Watches.
    seen, is_seen = [], threading.Event()

    def watch(event):
        seen.append((event.type, event.state, event.path))
        is_seen.set()

    for change in (
        lambda: (zk.exists("/kazoo/w", watch=watch), zk.create("/kazoo/w")),
        lambda: (zk.get("/kazoo/w", watch=watch), zk.set("/kazoo/w", b"x")),
        lambda: (zk.get_children("/kazoo/w", watch=watch), zk.create("/kazoo/w/c")),
        lambda: (zk.get("/kazoo/w/c", watch=watch), zk.delete("/kazoo/w/c")),
    ):
        is_seen.clear()
        change()
        print("told:", is_seen.wait(20), seen[-1])

    # Access.
    zk.add_auth("digest", "bob:secret")
    zk.create("/kazoo/closed", b"", acl=[make_digest_acl("bob", "secret", all=True)])
    acl, stat = zk.get_acls("/kazoo/closed")
    print(acl[0].perms, acl[0].id.scheme, stat.aversion)
    other = client(hosts)
    attempt(lambda: other.get("/kazoo/closed"), NoAuthError)
    zk.set_acls("/kazoo/closed", [make_digest_acl("eve", "x", read=True)])
    attempt(lambda: zk.get("/kazoo/closed"), NoAuthError)
    zk.delete("/kazoo/closed")

    # Sessions.
    other.create("/kazoo/mine", ephemeral=True)
    gone = threading.Event()
    zk.exists("/kazoo/mine", watch=lambda event: gone.set())
    other.stop()
    other.close()
    print("ephemeral gone:", gone.wait(20), zk.exists("/kazoo/mine"))

    # Recipes.
    zk.ensure_path("/kazoo/lock")
    lock, rival = Lock(zk, "/kazoo/lock", "one"), Lock(zk, "/kazoo/lock", "two")
    print(lock.acquire(timeout=20), rival.acquire(blocking=False), lock.contenders())
    lock.release()
    print(rival.acquire(timeout=20))
    rival.release()
    queue = LockingQueue(zk, "/kazoo/queue")
    queue.put(b"low", 200)
    queue.put(b"high", 50)
    print(queue.get(20), queue.consume(), queue.get(20), queue.consume(), len(queue))
    election, led = zk.Election("/kazoo/election", "me"), []
    election.run(lambda: led.append("led"))
    print(led)

    # Words.
    print(zk.command(b"ruok"), zk.server_version()[0] >= 3)
    zk.delete("/kazoo", recursive=True)
    print(zk.get_children("/"))
    lost = threading.Event()
    zk.add_listener(lambda state: lost.set() if state == KazooState.LOST else None)
    zk.stop()
    print("lost:", lost.wait(20))
    zk.close()


main(sys.argv[1])
