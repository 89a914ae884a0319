"""The same FETCH, SEARCH, SORT and THREAD answers as Dovecot, message by message, for a folder of
varied and broken mail, and one of discussions. usage: answers.py BINARY WORKDIR CORPUSDIR KNOWN

CORPUSDIR has one message a file. KNOWN lists the differences that are meant, with the RFC's
word on who is right; each line is "message item | why". Any other is a failure."""

import fnmatch
import os
import random
import re
import sys

from servers import Dovecot, Letterbox
from wire import Gone, Imap, Refused

USER = "alice"
LIMIT = int(os.environ.get("LIMIT", "100"))
PARTS = ["1", "2", "3", "1.1", "1.2", "2.1", "2.2", "1.1.1", "1.2.1", "2.1.1", "2.1.2"]
FIELDS = "(FROM TO SUBJECT RECEIVED CONTENT-TYPE X-NONE)"

FETCH = ["INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODYSTRUCTURE", "BODY",
         "BODY.PEEK[]", "BODY.PEEK[HEADER]", "BODY.PEEK[TEXT]", "RFC822.HEADER",
         f"BODY.PEEK[HEADER.FIELDS {FIELDS}]", f"BODY.PEEK[HEADER.FIELDS.NOT {FIELDS}]",
         "BODY.PEEK[HEADER.FIELDS (SUBJECT)]", "BODY.PEEK[HEADER.FIELDS (DATE MESSAGE-ID)]<3.20>",
         "BODY.PEEK[]<0.100>", "BODY.PEEK[]<10.50>", "BODY.PEEK[]<100000.10>", "BODY.PEEK[TEXT]<3.7>",
         "BODY.PEEK[HEADER]<2.9>", "BODY.PEEK[1]<5.20>"]
for p in PARTS:
    FETCH += [f"BODY.PEEK[{p}]", f"BODY.PEEK[{p}.MIME]", f"BODY.PEEK[{p}.HEADER]", f"BODY.PEEK[{p}.TEXT]",
              f"BODY.PEEK[{p}.HEADER.FIELDS (SUBJECT FROM)]"]
ALONE = ["BINARY.PEEK[1]", "BINARY.SIZE[1]", "BINARY.PEEK[2]", "BINARY.SIZE[2]", "BINARY.PEEK[1.1]", "BINARY.PEEK[1]<2.5>",
         "BINARY.PEEK[]", "BINARY.SIZE[]", "RFC822", "RFC822.TEXT"]


class Tokens:
    """Reads an answer into lists, atoms and strings; a quoted string and a literal with the
    same bytes are the same."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def value(self):
        c = self.data[self.at:self.at + 1]
        if c == b"(":
            self.at += 1
            items = []
            while self.data[self.at:self.at + 1] != b")":
                if self.data[self.at:self.at + 1] == b" ":
                    self.at += 1
                    continue
                if self.at >= len(self.data):
                    raise ValueError("a list without an end")
                items.append(self.value())
            self.at += 1
            return items
        if c == b'"':
            m = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.S).match(self.data, self.at)
            self.at = m.end()
            return ("string", re.sub(rb"\\(.)", rb"\1", m[1]))
        m = re.compile(rb"~?\{(\d+)\}\r\n").match(self.data, self.at)
        if m:
            start = m.end()
            self.at = start + int(m[1])
            return ("string", self.data[start:self.at])
        m = re.compile(rb"[^\s()\[]*(?:\[[^\]]*\](?:<\d+>)?)?", re.S).match(self.data, self.at)
        if m.end() == self.at:
            raise ValueError(f"at {self.data[self.at:self.at + 30]!r}")
        self.at = m.end()
        return m[0].upper() if b"[" in m[0] else m[0]


def items(untagged, uid):
    got = {}
    for a in untagged:
        m = re.match(rb"\* \d+ FETCH (?=\()", a)
        if not m:
            continue
        flat = Tokens(a[m.end():]).value()
        pairs = {re.sub(rb"\s+", b" ", k).replace(b'"', b"").upper() if isinstance(k, bytes) else k: v
                 for k, v in zip(flat[::2], flat[1::2])}
        if pairs.get(b"UID") == b"%d" % uid:
            got.update(pairs)
    if b"INTERNALDATE" in got:  # " 2-Mar-2026" and "02-Mar-2026" are the same
        got[b"INTERNALDATE"] = re.sub(b"^ ", b"0", got[b"INTERNALDATE"][1])
    for k in (b"UID", b"FLAGS"):
        got.pop(k, None)
    return got


class Side:
    """A session with INBOX open. Dovecot breaks the connection on some broken messages."""

    def __init__(self, server):
        self.server = server
        self.open()

    def open(self):
        self.imap = Imap(self.server.imap, USER)
        return self.imap.command("SELECT INBOX")[0]

    def fetch(self, uid, wanted):
        try:
            return items(self.imap.command(f"UID FETCH {uid} ({wanted})")[0], uid)
        except Refused as err:
            return {key(wanted): b"refused " + (re.search(r"\[[A-Z-]+\]", str(err)) or ["NO"])[0].encode()}
        except Gone:
            self.open()
            return {key(wanted): b"connection closed"}

    def ask(self, uid):
        got = self.fetch(uid, " ".join(FETCH))
        for item in ALONE:
            got.update(self.fetch(uid, item))
        return got


def key(wanted):
    return b"all" if len(wanted) > 60 else wanted.replace(".PEEK", "").encode()


def words(corpus):
    """What to search for: every so many words of the messages themselves."""
    found = set()
    for data in corpus.values():
        for w in re.findall(rb"[A-Za-z0-9@.]{4,12}", data)[3::61][:4]:
            found.add(w.decode())
    return sorted(found)[::3][:60]


def searches(corpus):
    keys = ["ALL", "SEEN", "UNSEEN", "LARGER 1000", "SMALLER 500", "LARGER 100000",
            "SINCE 1-Jan-2024", "BEFORE 1-Jan-2024", "ON 14-Nov-2023", "SENTSINCE 1-Jan-2024", "SENTBEFORE 1-Jan-2024",
            "SENTON 2-Mar-2026", "SENTSINCE 1-Jan-2000", "SENTBEFORE 1-Jan-2000", "HEADER Subject \"\"", "HEADER X-None \"\"", "HEADER Message-ID @", "HEADER Date 2026",
            "HEADER Content-Type multipart", "HEADER Received from", "FROM \"\"", "TO alice", "CC bob", "BCC carol",
            "FROM @", "SUBJECT re", "OR SUBJECT a FROM b", "NOT SUBJECT a", "NOT TEXT e", "NOT BODY e", "NOT HEADER From \"\"", "BODY \"\"", "TEXT \"\"",
            "FROM example.com", "FROM \"<\"", "TO \" \"", "SUBJECT \"  \""]
    for w in words(corpus):
        keys += [f'TEXT "{w}"', f'BODY "{w}"', f'SUBJECT "{w}"', f'FROM "{w}"']
    for w in ("Gr\u00fc\u00dfe", "gr\u00fcsse", "GR\u00dcN", "caf\u00e9", "cafe", "\u65e5\u672c", "\u041f\u0440\u0438\u0432\u0435\u0442", "\u043f\u0440\u0438\u0432\u0435\u0442", "\u20ac", "na\u00efve", "\u0130stanbul", "\u00e4", "\u00e9", "\ufb01"):
        keys += [(f"CHARSET UTF-8 {k} {{}}", w.encode()) for k in ("TEXT", "BODY", "SUBJECT", "FROM")]
    return keys


def search(imap, key):
    try:
        if isinstance(key, tuple):
            untagged, _ = imap.command("UID SEARCH " + key[0], key[1])
        else:
            untagged, _ = imap.command("UID SEARCH " + key)
    except Refused as err:
        return {f"refused {(re.search(r'[A-Z-]+', str(err)))[0]}"}
    return {int(u) for a in untagged if a.startswith(b"* SEARCH") for u in a[8:].split()}


SORTS = ["ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO", "DISPLAYFROM", "DISPLAYTO"]
THREADS = ["ORDEREDSUBJECT", "REFERENCES", "REFS"]


def discussions(seed):
    """Messages that answer each other, properly and otherwise."""
    r = random.Random(seed)
    made = []
    words = ["Budget", "budget", "Gr\u00fc\u00dfe", "lunch on Friday", "Re", "[box] news", "a  b\tc", "(fwd)", ""]
    marks = ["Re: ", "RE:", "Fwd: ", "fw: ", "Re[2]: ", "[list] ", "Re: [list] ", " ", "re : ", "AW: ", "[a][b] Re: "]
    people = ["alice@box.test", "Bob <BOB@box.test>", '"carol, c" <carol@box.test>', "=?utf-8?q?D=C3=B6rte?= <doerte@box.test>",
              "team: alice@box.test, bob@box.test;", "<>", "broken", "(Eve) eve@box.test", "Z\u00fcrich <z@box.test>", ""]
    for n in range(300):
        identity = r.choice([f"<{n}@box.test>", f'<"{n}"@box.test>', f"<{n}@box.test>", f"<{r.randrange(300)}@box.test>"])
        head = []
        if r.random() < 0.95:
            head.append(f"Message-ID: {identity}")
        before = [r.choice(made)] if made and r.random() < 0.75 else []
        subject = r.choice(words) + str(r.randrange(12))
        if before:
            parent = before[0]
            subject = parent["subject"] if r.random() < 0.8 else subject
            references = parent["references"] + [parent["identity"]]
            how = r.random()
            if how < 0.6:
                head.append("References: " + r.choice(["\r\n ", " "]).join(references))
            elif how < 0.7:
                head.append("References: " + " ".join(references[-2:]))
            elif how < 0.8:
                head.append("In-Reply-To: " + parent["identity"] + r.choice(["", " (yesterday)", " <other@box.test>"]))
            elif how < 0.85:
                head.append("References: <gone" + str(r.randrange(9)) + "@box.test> nonsense " + references[-1])
            elif how < 0.9:
                head.append("References: <later" + str(r.randrange(300)) + "@box.test> <" + str(r.randrange(300)) + "@box.test>")
        else:
            references = []
        shown = "".join(r.choice(marks) for _ in range(r.randrange(3))) + subject + r.choice(["", "", "", " (fwd)", " (FWD) "])
        if r.random() < 0.1:
            shown = "[Fwd: " + shown + "]"
        if r.random() < 0.97:
            head.append("Subject: " + shown)
        day = r.randrange(1, 28)
        if r.random() < 0.9:
            head.append(f"Date: {r.choice(['', 'Mon, '])}{day} Mar 2026 {r.randrange(24):02d}:{r.randrange(60):02d}:00 "
                        + r.choice(["+0000", "-0800", "+0530", "GMT", "EST"]))
        elif r.random() < 0.5:
            head.append("Date: some day")
        for field in r.sample(["From", "To", "Cc", "From", "To"], r.randrange(1, 5)):
            head.append(f"{field}: {r.choice(people)}")
        r.shuffle(head)
        made.append({"identity": identity, "references": references, "subject": subject})
        yield "\r\n".join(head).encode() + b"\r\n\r\n" + b"x" * r.randrange(100) + b"\r\n"


def ordered(imap, command):
    try:
        untagged, _ = imap.command(command)
    except Refused as err:
        return f"refused {err}"
    return b"".join(a for a in untagged if a.startswith((b"* SORT", b"* THREAD"))).decode()


def compare_order(there, folder, which):
    """Compares SORT and THREAD of some messages in the folder that is open; gives how many answers, and what differs."""
    commands = [f"UID SORT ({reverse}{k}) UTF-8 {which}" for k in SORTS for reverse in ("", "REVERSE ")]
    commands += [f"SORT (SUBJECT REVERSE DATE) UTF-8 {which} SUBJECT g", f"UID SORT (DISPLAYFROM SIZE) UTF-8 {which}"]
    commands += [f"UID THREAD {t} UTF-8 {which}" for t in THREADS] + [f"THREAD REFERENCES UTF-8 {which} NOT SUBJECT g"]
    wrong = []
    for command in commands:
        ours, theirs = (ordered(side.imap, command) for side in there)
        if ours != theirs:
            wrong.append(f"{folder} {command}: {shorten(ours, theirs)}")
    return len(commands), wrong


def short(v):
    v = repr(v)
    return v if len(v) < 300 else v[:150] + " ... " + v[-120:]


def shorten(a, b):
    """Where two long answers begin to differ."""
    a, b = repr(a), repr(b)
    if len(a) < 200 and len(b) < 200:
        return f"{a}\n#    dovecot says: {b}"
    i = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    i = max(0, i - 60)
    return f"(from {i}, of {len(a)} and {len(b)}) {a[i:i + 180]}\n#    dovecot says: {b[i:i + 180]}"


def known_differences(path):
    known = []
    with open(path) as f:
        for line in f:
            if "|" in line and not line.startswith("#"):
                known.append(tuple(line.split("|")[0].strip().split(None, 1)))
    return known


def main():
    binary, where, corpus_dir, known_path = sys.argv[1:5]
    mail = os.path.join(where, "mail")
    cur = os.path.join(mail, USER, "cur")
    for d in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(mail, USER, d))
    corpus = {}
    for n, file in enumerate(sorted(os.listdir(corpus_dir)), 1):
        name = f"{n:03d}-" + file.split(".", 2)[2].partition(":")[0]
        with open(os.path.join(corpus_dir, file), "rb") as f:
            corpus[name] = f.read()
        path = os.path.join(cur, f"{1700000000 + n}.M{n}P1.box:2,")
        with open(path, "wb") as f:
            f.write(corpus[name])
        os.utime(path, (1700000000 + n, 1700000000 + n))
    names = sorted(corpus)
    for d in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(mail, USER, ".Talk", d))
    for n, data in enumerate(discussions(int(os.environ.get("SEED", "1"))), 1):
        path = os.path.join(mail, USER, ".Talk", "cur", f"{1700000000 + n}.M{n}P1.box:2,")
        with open(path, "wb") as f:
            f.write(data)
        os.utime(path, (1770000000 + n % 7, 1770000000 + n % 7))
    box = Letterbox(binary, os.path.join(where, "l"), mail, os.path.join(where, "users"))
    box.user(USER)
    dove = Dovecot(os.path.join(where, "d"), mail).start()
    box.start()
    there = [Side(dove), Side(box)][::-1]
    for side in there:
        untagged = side.open()
        assert b"* %d EXISTS" % len(names) in untagged, untagged
    known, used, wrong, compared = known_differences(known_path), set(), [], 0

    def different(name, item, ours, theirs):
        for k in known:
            if fnmatch.fnmatchcase(name, k[0]) and fnmatch.fnmatchcase(item, k[1].replace("[", "[[]")):
                used.add(k)
                return
        wrong.append(f"{name} {item}: {shorten(ours, theirs)}")

    for uid, name in enumerate(names, 1):
        ours, theirs = (side.ask(uid) for side in there)
        if re.search(rb"(^|\n)\r?\n", corpus[name]) is None:
            # The empty line is told if there is one (RFC 9051, section 6.4.5.1). Dovecot tells
            # one for some of the messages that have none.
            for answers in (ours, theirs):
                for item in [i for i in answers if b"[HEADER.FIELDS (" in i]:
                    answers[item] = ("string", answers[item][1].rstrip(b"\r\n"))
        for item in sorted(set(ours) | set(theirs)):
            compared += 1
            if ours.get(item) != theirs.get(item):
                different(name, item.decode(), ours.get(item), theirs.get(item))
    for query in searches(corpus):
        ours, theirs = (search(side.imap, query) for side in there)
        compared += 1
        for uid in sorted(ours ^ theirs, key=str):
            if isinstance(uid, str):
                wrong.append(f"SEARCH {query}: {sorted(ours, key=str)[:5]} and {sorted(theirs, key=str)[:5]}")
                break
            text = query if isinstance(query, str) else query[0].replace("{}", query[1].decode())
            different(names[uid - 1], f"SEARCH {text}", uid in ours, uid in theirs)
    # Without those whose dates or addresses are read differently.
    plain = [str(uid) for uid, name in enumerate(names, 1)
             if not any(fnmatch.fnmatchcase(name, k[0]) and k[1] in ("ENVELOPE", "SEARCH SENT*") for k in known)]
    for folder, which in (("INBOX", "UID " + ",".join(plain)), ("Talk", "ALL")):
        for side in there:
            side.imap.command("SELECT " + folder)
        n, more = compare_order(there, folder, which)
        compared, wrong = compared + n, wrong + more
    for s in (box, dove):
        s.stop()
    for t in box.troubles() + dove.troubles():
        print(f"not ok log: {t}")
    for w in wrong[:LIMIT]:
        print(f"not ok {w}")
    if len(wrong) > LIMIT:
        print(f"not ok {len(wrong) - LIMIT} more")
    for k in known:
        if k not in used:
            print(f"not ok a known difference is gone, take it out of the list: {' '.join(k)}")
    print(f"# {len(names)} messages, {compared} answers compared, {len(used)} known differences seen")
    if not wrong:
        print(f"ok answers: {len(names)} messages, {compared} answers as Dovecot's")


if __name__ == "__main__":
    main()
