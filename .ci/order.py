"""Letterbox first and then Dovecot on the same Maildir, and the other way round: each
must find what the other left, to the last UID. usage: order.py BINARY WORKDIR"""

import os
import sys

import snapshot
from servers import Dovecot, Letterbox
from wire import Imap, Pop3, Refused, Smtp

USER = "alice"


def message(n, text="Hello"):
    return (f"From: Printer <printer@box.test>\r\nTo: alice@box.test\r\nSubject: number {n}\r\n"
            f"Date: Mon, 2 Mar 2026 10:00:00 +0100\r\nMessage-ID: <{n}@order.test>\r\n\r\n{text} {n}\r\n").encode()


def work(server, n):
    """A bit of everything that a household does to its mail."""
    lmtp = Smtp(server.lmtp, lmtp=True)
    for i in range(n, n + 12):
        lmtp.deliver("printer@box.test", [USER], message(i))
    lmtp.quit()
    imap = Imap(server.imap, USER)
    for name in (f"Work {n}", f"Work {n}/Plans", f"Gr&APwA3w-e{n}", f"Gone{n}"):
        imap.command("CREATE " + snapshot.quoted(name))
    imap.command("SUBSCRIBE " + snapshot.quoted(f"Work {n}"))
    imap.command("SUBSCRIBE " + snapshot.quoted(f"Work {n}/Plans"))
    imap.command(f"SUBSCRIBE Gr&APwA3w-e{n}")
    imap.command("SUBSCRIBE Gone%d" % n)
    imap.command("UNSUBSCRIBE Gone%d" % n)
    imap.command("DELETE Gone%d" % n)
    for i in range(n + 12, n + 18):
        imap.command(f'APPEND "Work {n}" (\\Seen $Invoice) " 2-Mar-2026 10:00:00 +0100" {{}}', message(i))
    imap.command("SELECT INBOX")
    imap.command("STORE 1,3 +FLAGS (\\Seen \\Answered)")
    imap.command("STORE 2 +FLAGS (\\Flagged $Forwarded)")
    imap.command(f"STORE 4:5 +FLAGS ($Label{n} Family)")
    imap.command(f'COPY 4:6 "Work {n}/Plans"')
    imap.command(f"MOVE 7:8 Gr&APwA3w-e{n}")
    imap.command("STORE 3 +FLAGS (\\Deleted)")
    imap.command("EXPUNGE")
    imap.command(f'RENAME "Work {n}/Plans" "Work {n}/Schemes"')
    imap.logout()
    pop = Pop3(server.pop3, USER)
    pop.lines("RETR 1")
    pop.command("DELE 2")  # hidden from POP3, and kept for IMAP
    pop.quit()


def check(name, before, after):
    # Letterbox makes the folders of special use at a user's first login.
    for folder in set(after["special"]) - set(before["folders"]):
        if not after["folders"][folder]["messages"]:
            del after["folders"][folder]
            after["subscribed"].discard(folder)
    found = snapshot.differences(before, after)
    for d in found:
        print(f"not ok {name}: {d}")
    if not found:
        n = sum(len(f["messages"]) for f in after["folders"].values())
        print(f"ok {name}: {n} messages in {len(after['folders'])} folders, {len(after['subscribed'])} subscriptions, {len(after['uidl'])} UIDLs")


def scene(binary, where, first):
    mail = os.path.join(where, "mail")
    os.makedirs(mail)
    box = Letterbox(binary, os.path.join(where, "l"), mail, os.path.join(where, "users"), pop3='on_delete = "hide"')
    box.user(USER)
    dove = Dovecot(os.path.join(where, "d"), mail)
    last = None
    order = (box, dove, box, dove) if first == "letterbox" else (dove, box, dove, box)
    for turn, server in enumerate(order):
        server.start()
        try:
            now = snapshot.take(server)
            if last is not None:
                check(f"{server.name} after {order[turn - 1].name}, turn {turn}", last, now)
            work(server, turn * 100 + 100)
            last = snapshot.take(server)
            again = snapshot.take(server)
            check(f"{server.name} after itself, turn {turn}", last, again)
        finally:
            server.stop()
    # The side files alone must say it: without any cache.
    for directory, _, files in os.walk(mail):
        for f in files:
            if f.startswith(("dovecot.index", "dovecot.list.index", "dovecot.mailbox.log", "letterbox.index")):
                os.remove(os.path.join(directory, f))
    for server in order[:2]:
        server.start()
        check(f"{server.name} without any cache", last, snapshot.take(server))
        server.stop()
    for t in box.troubles() + dove.troubles():
        print(f"not ok log: {t}")


def main():
    binary, where = sys.argv[1:]
    for first in ("letterbox", "dovecot"):
        print(f"# {first} first")
        scene(binary, os.path.join(where, first), first)


if __name__ == "__main__":
    try:
        main()
    except Refused as err:
        print(f"not ok refused: {err}")
        raise
