"""IMAP's extensions as a program uses them that has all of them: a user for each group. What no client
of Debian's asks for is asked for here."""

import re
import time
import zlib

from wire import Imap, Refused


def letter(n, text=b"Hello.\r\n", more=b""):
    return (b"From: %s <s%d@box.test>\r\nTo: box@box.test\r\nSubject: %sNumber %d\r\nDate: Mon, 2 Mar 2026 10:%02d:00 +0100\r\n"
            b"Message-ID: <%d@extensions.test>\r\n%s\r\n" % (b"ZYX"[n % 3:n % 3 + 1], n, b"Re: " * (n % 2), n // 2, 59 - n, n, more)) + text


def same(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r}, wanted {wanted!r}"[:900])


def one(untagged, pattern):
    """The one answer that is so; its groups."""
    found = [m for a in untagged if (m := re.fullmatch(pattern, a, re.S))]
    if len(found) != 1:
        raise AssertionError(f"{len(found)} answers are {pattern!r}: {untagged!r}"[:900])
    return found[0].groups()


def refused(what, imap, command, *literals, code):
    try:
        imap.command(command, *literals)
    except Refused as err:
        same(what, code in str(err), True)
    else:
        raise AssertionError(f"{what} was not refused")


def filled(home, messages):
    """A session with messages in INBOX."""
    imap = Imap(home.box.imap, home.user)
    imap.command("APPEND INBOX " + " ".join(["() {}"] * len(messages)), *messages)  # MULTIAPPEND
    imap.command("SELECT INBOX")
    return imap


class Inflated:
    """What comes behind COMPRESS, as a file."""

    def __init__(self, imap):
        self.imap, self.pack, self.unpack = imap, zlib.compressobj(9, zlib.DEFLATED, -15), zlib.decompressobj(-15)
        self.plain, self.send_plain, self.bytes = b"", imap.send, 0

    def send(self, data):
        self.send_plain(self.pack.compress(data) + self.pack.flush(zlib.Z_SYNC_FLUSH))

    def more(self):
        data = self.imap.socket.recv(1 << 16)
        assert data, "closed by the server"
        self.bytes += len(data)
        self.plain += self.unpack.decompress(data)

    def readline(self):
        while b"\n" not in self.plain:
            self.more()
        return self.read(self.plain.index(b"\n") + 1)

    def read(self, n):
        while len(self.plain) < n:
            self.more()
        data, self.plain = self.plain[:n], self.plain[n:]
        return data

    def close(self):
        pass


def compress(home):
    messages = [letter(n, b"the same line again\r\n" * 5000) for n in range(5)]
    imap = filled(home, messages)
    imap.command("COMPRESS DEFLATE")
    imap.file = wire = Inflated(imap)
    imap.send = wire.send
    untagged, _ = imap.command("FETCH 1:* BODY.PEEK[]")
    for n, m in enumerate(messages):
        same(f"message {n}", m in untagged[n], True)
    same("packed", wire.bytes < len(messages[0]), True)
    refused("COMPRESS once more", imap, "COMPRESS DEFLATE", code="BAD")
    imap.command("APPEND INBOX {}", messages[0])
    imap.command("LOGOUT")


def flags(untagged):
    found = {}
    for a in untagged:
        if b" FETCH (" in a and (uid := re.search(rb"UID (\d+)", a)):
            found[int(uid[1])] = sorted(f for f in re.search(rb"FLAGS \(([^)]*)\)", a)[1].split() if f != b"\\Recent")
    return found


def numbers(text):
    for part in text.split(b","):
        first, _, last = part.partition(b":")
        yield from range(int(first), int(last or first) + 1)


def resynchronize(home, validity, modseq, state):
    """What a client knows after SELECT with QRESYNC that knew state."""
    imap = Imap(home.box.imap, home.user)
    imap.command("ENABLE QRESYNC")
    untagged, _ = imap.command(f"SELECT INBOX (QRESYNC ({validity} {modseq}))")
    now = dict(state)
    for a in untagged:
        if m := re.fullmatch(rb"\* VANISHED \(EARLIER\) (\S+)", a):
            for uid in numbers(m[1]):
                now.pop(uid, None)
    now.update(flags(untagged))
    modseq = int(one(untagged, rb"\* OK \[HIGHESTMODSEQ (\d+)\].*")[0])
    imap.logout()
    return modseq, now, len(b"".join(untagged))


def qresync(home):
    """From each earlier point to what is there now."""
    imap = filled(home, [letter(n) for n in range(40)])
    validity = int(one(imap.command("STATUS INBOX (UIDVALIDITY)")[0], rb".*UIDVALIDITY (\d+)\)")[0])
    state = flags(imap.command("UID FETCH 1:* (FLAGS)")[0])
    known = [resynchronize(home, validity, 1, state)[:2]]
    for command in (r"UID STORE 3:9 +FLAGS (\Seen)", r"UID STORE 4,20 +FLAGS.SILENT (\Deleted)", "EXPUNGE", "UID STORE 5:7 +FLAGS (work)", r"UID STORE 6 FLAGS (\Answered)",
                    "UID MOVE 10:12 Archive", "UID COPY 13 INBOX", r"UID STORE 1:* +FLAGS.SILENT (\Flagged)", "UID EXPUNGE 1:*"):
        imap.command(command)
        now = flags(imap.command("UID FETCH 1:* (FLAGS)")[0])
        for n, (modseq, state) in enumerate(known):
            told = resynchronize(home, validity, modseq, state)
            same(f"after {command}, from point {n}", told[1], now)
        known.append(told[:2])
    same("nothing new costs little", resynchronize(home, validity, *known[-1])[2] < 700, True)


def notify(home):
    imap, other = filled(home, [letter(1)]), Imap(home.box.imap, home.user)
    for name in ("Lists/a", "Work"):
        other.command("CREATE " + name)
    untagged, _ = imap.command("NOTIFY SET STATUS (selected (MessageNew (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)]) MessageExpunge FlagChange)) "
                               "(subtree Lists (MessageNew MessageExpunge)) (personal (MailboxName SubscriptionChange))")
    one(untagged, rb"\* STATUS \"?Lists/a\"? \(MESSAGES 0 .*")

    def heard(pattern):
        while not re.fullmatch(pattern, a := imap.answer(), re.S):
            same("nothing of Work", b"STATUS Work" in a, False)

    other.command("APPEND Work {}", letter(2))
    other.command("APPEND Lists/a {}", letter(3))
    heard(rb"\* STATUS \"?Lists/a\"? \(MESSAGES 1 UIDNEXT 2.*")
    other.command("APPEND INBOX {}", letter(4))
    heard(rb"\* 2 EXISTS")
    heard(rb"\* 2 FETCH \(UID 2 BODY\[HEADER.FIELDS \(SUBJECT\)\].*Subject: Number 2.*")
    other.command("CREATE Lists/b")
    heard(rb"\* LIST \([^)]*\) \"/\" \"?Lists/b\"?")
    other.command("SELECT INBOX")
    other.command(r"STORE 1 +FLAGS (\Deleted)")
    heard(rb"\* 1 FETCH .*\\Deleted.*")
    other.command("EXPUNGE")
    heard(rb"\* 1 EXPUNGE")
    refused("an event that is not there", imap, "NOTIFY SET (personal (AnnotationChange))", code="BADEVENT")
    imap.command("NOTIFY NONE")
    other.command("APPEND Lists/a {}", letter(5))
    time.sleep(1.2)  # it would be told within a second
    same("after NONE", [a for a in imap.command("NOOP")[0] if b"STATUS" in a], [])


def finding(home):
    """SEARCH with PARTIAL, SAVE and UPDATE, SORT and THREAD."""
    imap, other = filled(home, [letter(n, more=b"References: <%d@extensions.test>\r\n" % (n - n % 3)) for n in range(9)]), Imap(home.box.imap, home.user)
    other.command("SELECT INBOX")
    same("COUNT", one(imap.command("SEARCH RETURN (MIN MAX COUNT) SUBJECT number")[0], rb'\* ESEARCH \(TAG "t\d+"\) MIN (\d+) MAX (\d+) COUNT (\d+)'), (b"1", b"9", b"9"))
    same("PARTIAL", one(imap.command("UID SEARCH RETURN (PARTIAL 3:5) ALL")[0], rb".* UID PARTIAL \(3:5 (\S+)\)"), (b"3:5",))
    same("PARTIAL from the end", one(imap.command("UID SEARCH RETURN (PARTIAL -1:-2) ALL")[0], rb".* PARTIAL \(-1:-2 (\S+)\)"), (b"8:9",))
    same("FETCH with PARTIAL", sorted(flags(imap.command("UID FETCH 1:* (UID FLAGS) (PARTIAL -1:-3)")[0])), [7, 8, 9])
    imap.command("SEARCH RETURN (SAVE) FROM Z")
    same("what was saved", sorted(flags(imap.command("UID FETCH $ (FLAGS)")[0])), [1, 4, 7])
    _, _ = imap.command("UID SEARCH RETURN (UPDATE CONTEXT COUNT) FLAGGED")
    tag = b"t%d" % imap.tag
    other.command(r"STORE 2,5 +FLAGS (\Flagged)")
    same("ADDTO", one(imap.command("NOOP")[0], rb'\* ESEARCH \(TAG "%s"\) UID ADDTO \(0 (\S+)\)' % tag), (b"2,5",))
    other.command(r"STORE 2 -FLAGS (\Flagged)")
    same("REMOVEFROM", one(imap.command("NOOP")[0], rb'\* ESEARCH \(TAG "%s"\) UID REMOVEFROM \(0 (\S+)\)' % tag), (b"2",))
    imap.command(f'CANCELUPDATE "{tag.decode()}"')
    same("SORT", one(imap.command("UID SORT (DATE) UTF-8 ALL")[0], rb"\* SORT (.*)"), (b"9 8 7 6 5 4 3 2 1",))
    same("SORT by display", one(imap.command("UID SORT (DISPLAYFROM REVERSE DATE) UTF-8 ALL")[0], rb"\* SORT (.*)"), (b"3 6 9 2 5 8 1 4 7",))
    same("SORT RETURN", one(imap.command("UID SORT RETURN (COUNT PARTIAL 1:2) (SUBJECT) UTF-8 ALL")[0], rb".* PARTIAL \(1:2 (\S+)\) COUNT 9|.* COUNT 9 PARTIAL \(1:2 (\S+)\)")[0] or b"1:2", b"1:2")
    same("THREAD", one(imap.command("UID THREAD REFS UTF-8 ALL")[0], rb"\* THREAD (.*)"), (b"(7 (9)(8))(4 (6)(5))(1 (3)(2))",))


def reading(home):
    """BINARY, PREVIEW, OBJECTID, and the same message in another folder."""
    coded = letter(1, b"=C3=A9t=C3=A9 is summer\r\n", b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n")
    imap = filled(home, [coded, letter(2, more=b"In-Reply-To: <1@extensions.test>\r\n")])
    plain = "\u00e9t\u00e9 is summer\r\n".encode()
    one(imap.command("FETCH 1 (BINARY.SIZE[1] BINARY.PEEK[1])")[0], rb"\* 1 FETCH \(BINARY.SIZE\[1\] %d BINARY\[1\] ~?\{%d\}\r\n%s\)" % (len(plain), len(plain), plain))
    one(imap.command("FETCH 1 (PREVIEW)")[0], rb"\* 1 FETCH \(PREVIEW .*\xc3\xa9t\xc3\xa9 is summer.*\)")
    email, thread = one(imap.command("FETCH 1 (EMAILID THREADID)")[0], rb"\* 1 FETCH \(EMAILID \((\S+)\) THREADID \((\S+)\)\)")
    one(imap.command("FETCH 2 (THREADID)")[0], rb"\* 2 FETCH \(THREADID \(%s\)\)" % re.escape(thread))
    box, = one(imap.command("STATUS Archive (MAILBOXID)")[0], rb".*MAILBOXID \((\S+)\)\)")
    imap.command("COPY 1 Archive")
    imap.command("RENAME Archive Attic")
    untagged, _ = imap.command("SELECT Attic")
    one(untagged, rb"\* OK \[MAILBOXID \(%s\)\].*" % re.escape(box))
    one(imap.command("FETCH 1 (EMAILID)")[0], rb"\* 1 FETCH \(EMAILID \(%s\)\)" % re.escape(email))
    same("SEARCH EMAILID", one(imap.command("SEARCH EMAILID " + email.decode())[0], rb"\* SEARCH (\d+)"), (b"1",))


def writing(home):
    """MULTIAPPEND, all or nothing; REPLACE; a binary literal."""
    imap = Imap(home.box.imap, home.user)
    _, done = imap.command(r'APPEND INBOX (\Seen) " 2-Mar-2026 10:00:00 +0100" {} (\Flagged) {}', letter(1), letter(2))
    same("APPENDUID", re.search(rb"APPENDUID \d+ (\S+)\]", done)[1], b"1:2")
    refused("one of two is too large", imap, "APPEND INBOX {} {}", letter(3), b"x" * (100 << 20), code="TOOBIG")
    imap.command("SELECT INBOX")
    untagged, _ = imap.command(r"REPLACE 1 INBOX (\Draft) {}", letter(4))
    uid, = one(untagged, rb"\* OK \[APPENDUID \d+ (\d+)\].*")
    one(untagged, rb"\* 1 EXPUNGE")
    same("what is there", sorted(flags(imap.command("UID FETCH 1:* (FLAGS)")[0]).items()), [(2, [b"\\Flagged"]), (int(uid), [b"\\Draft"])])
    imap.command("APPEND INBOX ~{}", letter(5, bytes(range(256))))
    imap.command("NOOP")
    same("size", one(imap.command("FETCH 3 RFC822.SIZE")[0], rb"\* 3 FETCH \(RFC822.SIZE (\d+)\)")[0] != b"0", True)


def folders(home):
    """METADATA, LIST with what is known of each folder, and QUOTA: this user may have 64 KiB."""
    imap = Imap(home.box.imap, home.user)
    imap.command('SETMETADATA Sent (/private/comment {} /shared/vendor/test/color "blue")', b"two\r\nlines")
    one(imap.command("GETMETADATA (DEPTH infinity) Sent (/private/comment /shared/vendor)")[0],
        rb"\* METADATA \"?Sent\"? \(/private/comment \{10\}\r\ntwo\r\nlines /shared/vendor/test/color \"?blue\"?\)")
    untagged, _ = imap.command('LIST "" "S%" RETURN (SPECIAL-USE STATUS (MESSAGES SIZE) METADATA (/shared/vendor/test/color))')
    one(untagged, rb'\* LIST \([^)]*\\Sent[^)]*\) "/" "?Sent"?')
    one(untagged, rb'\* STATUS "?Sent"? \(MESSAGES 0 SIZE 0\)')
    one(untagged, rb'\* METADATA "?Sent"? \(/shared/vendor/test/color "?blue"?\)')
    imap.command("SETMETADATA Sent (/private/comment NIL)")
    one(imap.command("GETMETADATA Sent /private/comment")[0], rb"\* METADATA \"?Sent\"? \(/private/comment NIL\)")
    root = one(imap.command("GETQUOTAROOT INBOX")[0], rb"\* QUOTAROOT \"?INBOX\"? (\S+)")[0].decode()
    imap.command("APPEND INBOX {}", letter(1, b"x" * 40000))
    one(imap.command("GETQUOTA " + root)[0], rb"\* QUOTA \S+ \(STORAGE (39|40) 64\)")
    refused("too much", imap, "APPEND INBOX {}", letter(2, b"x" * 40000), code="OVERQUOTA")
    imap.command("SELECT INBOX")
    refused("a copy that is too much", imap, "COPY 1 Sent", code="OVERQUOTA")
    imap.command("MOVE 1 Sent")


def unauthenticate(home):
    imap = Imap(home.box.imap, home.user)
    imap.command("ENABLE QRESYNC")
    imap.command("APPEND INBOX {}", letter(1))
    imap.command("SELECT INBOX")
    imap.command("UNAUTHENTICATE")
    refused("a command of a user", imap, "SELECT INBOX", code="BAD")
    imap.command("LOGIN first secret")
    one(imap.command("SELECT INBOX")[0], rb"\* 0 EXISTS")
    refused("what the one before had enabled", imap, "SELECT INBOX (QRESYNC (1 1))", code="BAD")


def uids(home):
    """A client that knows no message numbers: UIDONLY, and UIDBATCHES to read in parts."""
    short = [b"Subject: %d\r\n\r\n" % n for n in range(1, 1101)]
    imap, other = filled(home, short[:600]), Imap(home.box.imap, home.user)
    other.command("APPEND INBOX " + " ".join(["{}"] * 500), *short[600:])
    other.command("SELECT INBOX")
    other.command(r"STORE 1,50:99 +FLAGS.SILENT (\Deleted)")
    other.command("EXPUNGE")
    imap.command("CLOSE")
    same("ENABLE", one(imap.command("ENABLE UIDONLY")[0], rb"\* ENABLED (.*)"), (b"UIDONLY",))
    same("no number", [a for a in imap.command("SELECT INBOX")[0] if b"UNSEEN" in a], [])
    for command in ("FETCH 1 FLAGS", "SEARCH ALL", "STORE 1 FLAGS ()", "COPY 1 Sent", "SORT (DATE) UTF-8 ALL", "UID SEARCH 1:2"):
        refused(command, imap, command, code="[UIDREQUIRED]")
    refused("small batches", imap, "UIDBATCHES 10", code="[TOOFEW]")
    batches = one(imap.command("UIDBATCHES 500")[0], rb'\* UIDBATCHES \(TAG "t\d+"\) (\S+)')[0].split(b",")
    same("batches", batches, [b"1100:601", b"600:101", b"100:1"])
    read = []
    for batch in batches:
        untagged, _ = imap.command(b"UID FETCH %s (BODY.PEEK[HEADER.FIELDS (SUBJECT)])" % batch)
        rows = [re.fullmatch(rb"\* (\d+) UIDFETCH \(BODY\[HEADER.FIELDS \(SUBJECT\)\] \{\d+\}\r\nSubject: (\d+)\r\n\r\n\)", a) for a in untagged]
        same("the subject is the number", all(m and m[1] == m[2] for m in rows), True)
        same("none is too large", len(rows) <= 500, True)
        read += [int(m[1]) for m in rows]
    same("all of them", sorted(read), [*range(2, 50), *range(100, 1101)])
    other.command(r"UID STORE 1099 +FLAGS (\Flagged)")
    other.command(r"UID STORE 7:9 +FLAGS.SILENT (\Deleted)")
    other.command("EXPUNGE")
    untagged, _ = imap.command("NOOP")
    one(untagged, rb"\* VANISHED 7:9")
    one(untagged, rb"\* 1099 UIDFETCH \(FLAGS \(.*\\Flagged.*\)\)")
    same("no numbers", [a for a in untagged if re.match(rb"\* \d+ (FETCH|EXPUNGE)", a)], [])
    one(imap.command("UID MOVE 1100 Archive")[0], rb"\* VANISHED 1100")
    same("after a known UID", one(imap.command("UID SEARCH UIDAFTER 1097")[0], rb"\* SEARCH (.*)"), (b"1098 1099",))


EXTENSIONS = [compress, qresync, notify, finding, reading, writing, folders, unauthenticate, uids]
