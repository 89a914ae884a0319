"""Mail that comes from a Dovecot: as a Maildir with all numbers, and by IMAP; and comes back from
a backup. usage: transfer.py BINARY WORKDIR"""

import os
import shutil
import sys

import snapshot
from order import check, work
from servers import PASSWORD, Dovecot, Letterbox


def without_numbers(snap):
    """Folders and messages, whatever their numbers are."""
    return {name: sorted((sorted(m[0]), *m[1:]) for m in f["messages"].values()) for name, f in snap["folders"].items() if f["messages"]}


def same(name, a, b):
    if a == b:
        print(f"ok {name}: {sum(map(len, a.values()))} messages in {len(a)} folders")
        return
    for folder in sorted(set(a) | set(b)):
        if a.get(folder) != b.get(folder):
            print(f"not ok {name}: {folder}: {a.get(folder)} and {b.get(folder)}")


def said(name, text, want):
    print(f"ok {name}" if want in text else f"not ok {name}: {text}")


def main():
    binary, where = sys.argv[1:]
    mail, own = os.path.join(where, "dovecot-mail"), os.path.join(where, "mail")
    os.makedirs(mail)
    dove = Dovecot(os.path.join(where, "d"), mail)
    box = Letterbox(binary, os.path.join(where, "l"), own, os.path.join(where, "users"), pop3='on_delete = "hide"')
    for user in ("alice", "bob"):
        box.user(user)
    dove.start()
    work(dove, 100)
    there = snapshot.take(dove)
    source = f"imap://alice@127.0.0.1:{dove.imap}"
    box.run("import", "-user", "alice", os.path.join(mail, "alice"))
    box.run("import", "-user", "bob", source, text=PASSWORD + "\n")
    said("a second import by IMAP", box.run("import", "-user", "bob", source, text=PASSWORD + "\n"), "imported 0 messages")
    said("another, all fetched again", box.run("import", "-again", "-user", "bob", source, text=PASSWORD + "\n"), "imported 0 messages")
    said("a second import of the Maildir", box.run("import", "-user", "alice", os.path.join(mail, "alice")), "imported 0 messages")
    box.start()
    check("Dovecot's Maildir, imported", there, snapshot.take(box))
    same("Dovecot's account, by IMAP", without_numbers(there), without_numbers(snapshot.take(box, "bob")))
    work(box, 200)  # and the server may run meanwhile
    work(dove, 300)
    box.run("import", "-user", "bob", source, text=PASSWORD + "\n")
    here = snapshot.take(box)
    box.run("backup", os.path.join(where, "backup"))
    box.stop()
    shutil.rmtree(os.path.join(own, "alice"))
    box.run("restore", "-user", "alice", os.path.join(where, "backup"))
    box.start()
    for folder in here["folders"].values():  # UIDs that were given after the snapshot must not come again
        folder["uidnext"] += 1 << 20
    check("a user restored into nothing", here, snapshot.take(box))
    box.stop()
    dove.stop()
    for t in box.troubles() + dove.troubles():
        print(f"not ok log: {t}")


if __name__ == "__main__":
    main()
