"""What a server says of a user's mail: all that must be the same when another server
serves the same Maildir."""

import hashlib
import re

from wire import Imap, Pop3

LIST = re.compile(rb'\* (?:LIST|LSUB) \(([^)]*)\) (?:NIL|"(.)") (.*)$', re.S)
LITERAL = re.compile(rb"^\{\d+\}\r\n")


def names(untagged):
    """Names and attributes out of LIST or LSUB answers."""
    found = {}
    for a in untagged:
        m = LIST.match(a)
        if m:
            name = LITERAL.sub(b"", m[3])
            if name.startswith(b'"'):
                name = name[1:-1].replace(b'\\"', b'"').replace(b"\\\\", b"\\")
            found[name.decode()] = {w.decode().lower() for w in m[1].split()}
    return found


def quoted(name):
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def fetched(untagged):
    """{uid: (flags, internaldate, size, sha256 of the body, message-id)}"""
    found = {}
    for a in untagged:
        if b" FETCH (" not in a[:30]:
            continue
        uid = re.search(rb"\bUID (\d+)", a)
        body = re.search(rb"BODY\[\] (?:\{(\d+)\}\r\n|\"\")", a)
        if not uid or not body:
            continue
        head, text = a[:body.start()], b""
        if body[1]:
            text = a[body.end():body.end() + int(body[1])]
        rest = head + a[body.end() + len(text):]
        flags = re.search(rb"FLAGS \(([^)]*)\)", rest)
        message = re.search(rb"(?mi)^Message-ID:\s*<([^>]*)>", text)
        found[int(uid[1])] = (
            frozenset(f.decode().lower() for f in flags[1].split() if f.lower() != b"\\recent"),
            # " 2-Mar-2026" and "02-Mar-2026" are the same (RFC 9051, date-day-fixed).
            re.sub("^ ", "0", re.search(rb'INTERNALDATE "([^"]*)"', rest)[1].decode()),
            int(re.search(rb"RFC822.SIZE (\d+)", rest)[1]),
            hashlib.sha256(text).hexdigest()[:16],
            message[1].decode() if message else "")
    return found


def take(server, user="alice", pop3=True):
    imap = Imap(server.imap, user)
    seen = {"folders": {}, "special": {}}
    for name, attributes in names(imap.command('LIST "" "*"')[0]).items():
        for use in attributes & {"\\sent", "\\drafts", "\\trash", "\\junk", "\\archive"}:
            seen["special"][name] = use
        if "\\noselect" in attributes or "\\nonexistent" in attributes:
            continue
        untagged, _ = imap.command("EXAMINE " + quoted(name))
        text = b"\n".join(untagged)
        messages = {}
        if b"* 0 EXISTS" not in text:
            messages = fetched(imap.command("UID FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])")[0])
        seen["folders"][name] = {
            "uidvalidity": int(re.search(rb"UIDVALIDITY (\d+)", text)[1]),
            "uidnext": int(re.search(rb"UIDNEXT (\d+)", text)[1]),
            "messages": messages}
    seen["subscribed"] = set(names(imap.command('LSUB "" "*"')[0]))
    imap.logout()
    if pop3:
        pop = Pop3(server.pop3, user)
        seen["uidl"] = pop.lines("UIDL")
        seen["sizes"] = pop.lines("LIST")
        pop.quit()
    return seen


def differences(a, b, special=False):
    """What of snapshot a is otherwise in b, in words."""
    found = []

    def compare(where, x, y):
        if x != y:
            found.append(f"{where}: {x!r} and {y!r}")

    compare("folders", sorted(a["folders"]), sorted(b["folders"]))
    for name in sorted(set(a["folders"]) & set(b["folders"])):
        x, y = a["folders"][name], b["folders"][name]
        compare(f"{name} uidvalidity", x["uidvalidity"], y["uidvalidity"])
        compare(f"{name} uidnext", x["uidnext"], y["uidnext"])
        compare(f"{name} UIDs", sorted(x["messages"]), sorted(y["messages"]))
        for uid in sorted(set(x["messages"]) & set(y["messages"])):
            for what, p, q in zip(("flags", "date", "size", "body", "message-id"), x["messages"][uid], y["messages"][uid]):
                compare(f"{name} UID {uid} {what}", p, q)
    compare("subscribed", a["subscribed"], b["subscribed"])
    if special:
        compare("special use", a["special"], b["special"])
    for what in ("uidl", "sizes"):
        if what in a and what in b:
            compare("POP3 " + what, a[what], b[what])
    return found
