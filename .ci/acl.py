"""Rights that Letterbox has given, as Dovecot's plugin acl understands them, and the other way round, on the same
Maildir. usage: acl.py BINARY WORKDIR"""

import os
import re
import sys
import time

from servers import Dovecot, Letterbox
from wire import Imap, Refused

USERS = ("alice", "bob", "carol")

EXTRA = """
mail_plugins = acl
protocol imap {
  mail_plugins = acl imap_acl
}
namespace {
  type = shared
  separator = /
  prefix = Shared/%%u/
  location = maildir:MAIL/%%u
  subscriptions = no
  list = children
}
plugin {
  acl = vfile
  acl_shared_dict = file:DIR/shared
  acl_anyone = allow
}
"""

# Files as other programs may have written them. Both servers must read the same in them.
FILES = (
    "", "user=bob lrk\n", "# a comment\n\nuser=bob lr \r\n", "user=bob lr", "user=bob :lookup read\n", "user=bob l :read\n",
    "user=bob lr:insert\n", "user=bob\n", "user=Bob lr\n", '"user=bob" lr\n', '"-user=bob" r\nanyone lr\n', "user=bob lr\nuser=bob lrw\n",
    "anyone lrw\nuser=bob l\n", "anyone l\nuser=bob \n", "anyone lr\n-user=bob r\n", "user=bob lr\n-anyone r\n",
    "authenticated lr\nanyone lrw\n", "group=family lr\nanyone l\n", "group-override=family l\nuser=bob lr\n", "-owner w\n",
    "user=bob lrs\nuser=carol lrswipkxtea\n",
)


def rights(text):
    """A set without the virtual rights c and d."""
    return "".join(sorted(set(text) - set("cd")))


def myrights(server, user, folder):
    imap = Imap(server.imap, user)
    try:
        untagged, _ = imap.command(f"MYRIGHTS {folder}")
    except Refused as err:
        if "NONEXISTENT" not in str(err):
            raise
        return ""
    finally:
        imap.logout()
    return rights(untagged[-1].decode().split()[-1])


def acl(server, folder):
    imap = Imap(server.imap, "alice")
    untagged, _ = imap.command(f"GETACL {folder}")
    imap.logout()
    words = [w.strip('"') for w in re.findall(r'"[^"]*"|\S+', untagged[-1].decode())[3:]]
    return {identifier: rights(given) for identifier, given in zip(words[::2], words[1::2])}


def shown(server):
    imap = Imap(server.imap, "bob")
    untagged, _ = imap.command('LIST "" Shared/*')
    imap.logout()
    return sorted(a.decode().split()[-1].strip('"') for a in untagged if b"Noselect" not in a and b"NonExistent" not in a)


def subscribed(server):
    imap = Imap(server.imap, "bob")
    untagged, _ = imap.command('LSUB "" Shared/*')
    imap.logout()
    return sorted(a.decode().split()[-1].strip('"') for a in untagged)


def say(server, user, *commands):
    imap = Imap(server.imap, user)
    for command in commands:
        imap.command(command)
    imap.logout()


def same(what, giver, reader, ask):
    a, b = ask(giver), ask(reader)
    print(f"ok {what}" if a == b else f"not ok {what}: {giver.name} has {a}, {reader.name} {b}")


def compare(what, giver, reader):
    for user, folder in (("bob", "Shared/alice/P"), ("bob", "Shared/alice/P/q"), ("carol", "Shared/alice/P"), ("alice", "P"), ("bob", "Shared/alice")):
        same(f"{what}: {user} in {folder}", giver, reader, lambda server: myrights(server, user, folder))
    same(f"{what}: GETACL", giver, reader, lambda server: acl(server, "P"))
    same(f"{what}: what is shown to bob", giver, reader, shown)
    same(f"{what}: what bob has subscribed to", giver, reader, subscribed)


def main():
    binary, where = sys.argv[1:]
    mail = os.path.join(where, "mail")
    letterbox = Letterbox(binary, os.path.join(where, "l"), mail, os.path.join(where, "users"))
    for user in USERS:
        letterbox.user(user)
    dovecot = Dovecot(os.path.join(where, "d"), mail, USERS, EXTRA.replace("MAIL", mail).replace("DIR", where))
    letterbox.start()
    try:
        for user in USERS:
            say(letterbox, user, "NOOP")
        dovecot.start()
        say(dovecot, "alice", "SETACL INBOX bob l", "DELETEACL INBOX bob")  # from now on Dovecot knows that alice shares
        say(letterbox, "alice", "CREATE P", "SETACL P bob lrswi", "SETACL P anyone l", "SETACL P -carol l", "CREATE P/q", "SETACL P/q bob lrkcd",
            "SETACL INBOX bob lr", "SETACL P alice -x")
        say(letterbox, "bob", "SUBSCRIBE Shared/alice/P/q", "SUBSCRIBE Shared/alice")
        compare("Letterbox first", letterbox, dovecot)
        say(dovecot, "alice", "SETACL P bob +te", "SETACL P anyone lr", "SETACL P carol lrx", "DELETEACL P -carol", "SETACL P/q bob -x", "DELETEACL INBOX bob")
        say(dovecot, "bob", "UNSUBSCRIBE Shared/alice", "SUBSCRIBE Shared/alice/P")
        compare("Dovecot next", dovecot, letterbox)
        say(letterbox, "bob", "UNSUBSCRIBE Shared/alice/P/q", "CREATE Shared/alice/P/q/r")
        say(letterbox, "alice", "DELETEACL P carol", "SETACL P bob lr", "SETACL P anyone +i")
        compare("Letterbox again", letterbox, dovecot)
        path = os.path.join(mail, "alice", ".P", "dovecot-acl")
        for n, text in enumerate(FILES):
            with open(path, "w", newline="") as f:
                f.write(text)
            then = time.time() - 1000 + n  # Dovecot looks at the date only
            os.utime(path, (then, then))
            for user, folder in (("bob", "Shared/alice/P"), ("carol", "Shared/alice/P"), ("alice", "P")):
                same(f"{text!r} for {user}", letterbox, dovecot, lambda server: myrights(server, user, folder))
        if troubles := letterbox.troubles():
            print(f"not ok Letterbox's log: {troubles}")
    finally:
        dovecot.stop()
        letterbox.stop()


if __name__ == "__main__":
    main()
