"""Two servers on one Maildir at the same time: four writers on each side deliver, append,
flag, copy, move and expunge in the same folders, while either server is killed now and
then. A ledger keeps every Message-ID and UID that either server ever told.

usage: together.py dovecot|letterbox BINARY WORKDIR SECONDS [SEED [KILLS]]

WORKDIR/ledger.txt has every line of the ledger as it was written.

What must hold, and is looked at through both servers at the end, again after a restart,
and again after all caches are gone:

  * an acknowledged message is there, as often as was asked for;
  * a UID never names two messages; a message keeps its UID; UIDVALIDITY stays;
  * both servers say the same.
"""

import os
import random
import re
import sys
import threading
import time
import traceback

import snapshot
from servers import Dovecot, Letterbox
from wire import Gone, Imap, Pop3, Refused, Smtp

USER = "alice"
FOLDERS = ("INBOX", "Common", "Common/Deep", "Archive")
FLAGS = ("\\Flagged", "\\Answered", "\\Seen", "$Label1", "Family", "$Forwarded")


class Ledger:
    def __init__(self, path):
        self.lock = threading.Lock()
        self.file = open(path, "w", buffering=1)
        self.named = {}     # (folder, uid): Message-ID
        self.validity = {}  # folder: UIDVALIDITY
        self.first = {}     # (folder, UID): who told it first, and when
        self.began = time.monotonic()
        self.least = {}     # Message-ID: how often it must be there
        self.most = {}      # ... and how often it may be
        self.reused = set() # (folder, UID, Message-ID) that was complained of
        self.wrong = []
        self.acts = {}

    def write(self, text):
        self.file.write(f"{time.monotonic() - self.began:.3f} {text}\n")

    def complain(self, kind, text):
        with self.lock:
            self.wrong.append((kind, text))
            self.write(f"WRONG {kind}: {text}")

    def did(self, who, act):
        with self.lock:
            self.acts[act] = self.acts.get(act, 0) + 1
            self.write(f"{who} did {act}")

    def does(self, who, command):
        with self.lock:
            self.write(f"{who} asks {command}")

    def told(self, who, folder, validity, uid, message):
        with self.lock:
            known = self.validity.setdefault(folder, validity)
            if known != validity:
                self.wrong.append(("uidvalidity", f"{who}: {folder} has {validity}, and had {known}"))
            self.first.setdefault((folder, uid), f"{who} after {time.monotonic() - self.began:.1f} s")
            if (folder, uid) not in self.named:
                self.write(f"{who} tells {folder} UID {uid} {message}")
            known = self.named.setdefault((folder, uid), message)
            if known != message and (folder, uid, message) not in self.reused:
                self.reused.add((folder, uid, message))
                text = f"{who}: {folder} UID {uid} is {message}, and was {known}, told by {self.first[folder, uid]}"
                self.wrong.append(("uid reused", text))
                self.write(f"WRONG uid reused: {text}")

    def count(self, who, message, least, most):
        with self.lock:
            self.write(f"{who} counts {message} {least:+d} {most:+d}")
            self.least[message] = self.least.get(message, 0) + least
            self.most[message] = self.most.get(message, 0) + most


def text(message, size):
    return (f"From: w@box.test\r\nTo: {USER}@box.test\r\nSubject: {message}\r\nMessage-ID: <{message}>\r\n\r\n"
            + "x" * 70 + "\r\n" * (1 + size // 70)).encode()


def messages(untagged):
    """(uid, Message-ID) of FETCH answers."""
    for a in untagged:
        m = re.search(rb"\bUID (\d+)", a)
        i = re.search(rb"(?i)Message-ID: <([^>]*)>", a)
        if m and i:
            yield int(m[1]), i[1].decode()


class Writer(threading.Thread):
    """One user's program. Nobody else copies, moves or expunges its messages, so it knows
    where they must be; all writers flag all messages."""

    def __init__(self, name, server, ledger, seed, stop):
        super().__init__(name=name, daemon=True)
        self.server, self.ledger, self.stopping = server, ledger, stop
        self.random = random.Random(seed)
        self.mine = {}  # Message-ID: list of (folder, uid or None)
        self.number = 0
        self.imap = self.folder = None
        self.validity = {}

    def run(self):
        while not self.stopping.is_set():
            try:
                self.session()
            except Gone:
                self.imap = None
                time.sleep(0.3)
            except (Refused, RuntimeError) as err:
                # It shuts down; or others expunged while this one looked (RFC 2180, section 4.1.2).
                if str(err).startswith(("421 ", "NO [EXPUNGEISSUED]")):
                    self.imap = None
                    continue
                self.ledger.complain("refused", f"{self.name}: {self.act}: {err}")
                self.imap = None
                time.sleep(1)
            except Exception:
                self.ledger.complain("writer", f"{self.name}: {self.act}: {traceback.format_exc()}")
                self.imap = None
                time.sleep(1)

    def session(self):
        acts = [self.deliver] * 4 + [self.append] * 3 + [self.flag] * 6 + [self.move] * 4 + [self.copy] * 2 + \
            [self.expunge] * 4 + [self.look] * 2 + [self.pop]
        for _ in range(self.random.randrange(10, 60)):
            if self.stopping.is_set():
                break
            act = self.random.choice(acts)
            self.act = act.__name__
            act()
            self.ledger.did(self.name, self.act)
        if self.imap:
            self.imap.logout()
            self.imap = None

    def select(self, folder):
        if self.imap is None:
            self.imap, self.folder = Imap(self.server.imap, USER), None
        if self.folder != folder:
            untagged, _ = self.imap.command("SELECT " + snapshot.quoted(folder))
            self.validity[folder] = int(re.search(rb"UIDVALIDITY (\d+)", b"\n".join(untagged))[1])
            self.folder = folder
        else:
            self.imap.command("NOOP")

    def new(self):
        self.number += 1
        return f"{self.name}.{self.number}"

    def change(self, message, command, least, most, *literals):
        """A command that changes how often a message is there. If the connection breaks
        before the answer, it may have happened or not."""
        try:
            return command()
        except (Gone, Refused) as err:
            if "EXPUNGEISSUED" in str(err):  # nothing was done
                raise Refused(f"{message}, last told as {self.mine.get(message)}: {err}") from err
            self.ledger.count(self.name, message, least, most)
            self.mine.pop(message, None)  # its places are not known any more
            raise

    def deliver(self):
        message = self.new()
        lmtp = Smtp(self.server.lmtp, lmtp=True)
        self.change(message, lambda: lmtp.deliver("w@box.test", [USER], text(message, self.random.randrange(4000))), 0, 1)
        self.ledger.count(self.name, message, 1, 1)
        self.mine[message] = [("INBOX", None)]
        lmtp.close()

    def append(self):
        message, folder = self.new(), self.random.choice(FOLDERS)
        self.select(self.folder or folder)
        data = text(message, self.random.randrange(4000))
        flags = " ".join(self.random.sample(FLAGS, self.random.randrange(3)))
        _, done = self.change(message, lambda: self.imap.command(
            f"APPEND {snapshot.quoted(folder)} ({flags}) {{}}", data), 0, 1)
        self.ledger.count(self.name, message, 1, 1)
        m = re.search(rb"APPENDUID (\d+) (\d+)", done)
        self.ledger.told(self.name, folder, int(m[1]), int(m[2]), message)
        self.mine[message] = [(folder, int(m[2]))]

    def look(self):
        """Tells the ledger a folder, and learns the UIDs of what was delivered."""
        folder = self.random.choice(FOLDERS + ("INBOX",) * 2)
        self.select(folder)
        untagged, _ = self.imap.command("UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
        there = {}
        for uid, message in messages(untagged):
            self.ledger.told(self.name, folder, self.validity[folder], uid, message)
            there.setdefault(message, []).append(uid)
        for message, places in self.mine.items():
            for i, (f, uid) in enumerate(places):
                if f == folder and uid is None and len(there.get(message, ())) == 1:
                    places[i] = (f, there[message][0])
        self.uids = [u for us in there.values() for u in us]

    def pick(self):
        """One of this writer's messages whose UID is known, its folder selected."""
        known = [(m, i) for m, places in self.mine.items() for i, (_, uid) in enumerate(places) if uid]
        if not known:
            self.look()
            return None
        message, i = self.random.choice(known)
        folder, uid = self.mine[message][i]
        self.select(folder)
        return message, i, folder, uid

    def flag(self):
        """Anybody's message."""
        self.select(self.random.choice(FOLDERS))
        untagged, _ = self.imap.command("UID SEARCH ALL")
        uids = b" ".join(a[9:] for a in untagged if a.startswith(b"* SEARCH ")).split()
        if uids:
            some = self.random.sample(uids, min(len(uids), self.random.randrange(1, 4)))
            sign = self.random.choice("+-")
            self.imap.command(f"UID STORE {b','.join(some).decode()} {sign}FLAGS ({self.random.choice(FLAGS)})")

    def transfer(self, verb, least, most):
        picked = self.pick()
        if not picked:
            return
        message, i, folder, uid = picked
        to = self.random.choice([f for f in FOLDERS if f != folder])
        self.ledger.does(self.name, f"{verb} of {message}, {folder} UID {uid}, to {to}")
        untagged, done = self.change(message, lambda: self.imap.command(f"UID {verb} {uid} {snapshot.quoted(to)}"), least, most)
        m = re.search(rb"COPYUID (\d+) (\d+) (\d+)\]", b"\n".join(untagged) + done)
        if not m:
            self.ledger.complain("vanished", f"{self.name}: {verb} of {message}, {folder} UID {uid}, says only {done.decode()}")
            self.ledger.count(self.name, message, -1, 1)
            self.mine.pop(message)
            return
        self.ledger.told(self.name, to, int(m[1]), int(m[3]), message)
        if verb == "COPY":
            self.ledger.count(self.name, message, 1, 1)
            self.mine[message].append((to, int(m[3])))
        else:
            self.mine[message][i] = (to, int(m[3]))

    def move(self):
        self.transfer("MOVE", 0, 1)  # broken in the middle: in one of the folders, or in both

    def copy(self):
        self.transfer("COPY", 0, 1)

    def expunge(self):
        picked = self.pick()
        if not picked:
            return
        message, i, folder, uid = picked
        self.ledger.does(self.name, f"EXPUNGE of {message}, {folder} UID {uid}")

        def both():
            self.imap.command(f"UID STORE {uid} +FLAGS.SILENT (\\Deleted)")
            untagged, _ = self.imap.command(f"UID EXPUNGE {uid}")
            return any(a.endswith(b" EXPUNGE") for a in untagged)
        if not self.change(message, both, -1, 0):
            # Its \\Deleted is not there any more, though nobody took it away.
            self.ledger.complain("not expunged", f"{self.name}: {message}, {folder} UID {uid}")
            return
        self.ledger.count(self.name, message, -1, -1)
        self.mine[message].pop(i)
        if not self.mine[message]:
            del self.mine[message]

    def pop(self):
        """POP3's UIDL tells a UID, too: UID and UIDVALIDITY in hex."""
        pop = Pop3(self.server.pop3, USER)
        listed = [line.decode().split() for line in pop.lines("UIDL")]
        for n, uidl in self.random.sample(listed, min(3, len(listed))):
            try:
                header = b"\r\n".join(pop.lines(f"TOP {n} 0"))
            except Refused:
                continue  # expunged by another since the session began
            m = re.search(rb"(?i)Message-ID: <([^>]*)>", header)
            self.ledger.told(self.name, "INBOX", int(uidl[8:], 16), int(uidl[:8], 16), m[1].decode())
        pop.quit()


def look_at_all(servers, ledger, when):
    """Compares what is there with the ledger, through every server."""
    seen = [snapshot.take(s) for s in servers]
    for server, s in zip(servers, seen):
        count = {}
        for folder, f in s["folders"].items():
            for uid, (_, _, _, _, message) in f["messages"].items():
                count[message] = count.get(message, 0) + 1
                ledger.told(f"{server.name} {when}", folder, f["uidvalidity"], uid, message)
            highest = max((u for (n, u) in ledger.named if n == folder), default=0)
            if f["uidnext"] <= highest:
                ledger.complain("uidnext", f"{server.name} {when}: {folder} UIDNEXT {f['uidnext']}, {highest} was told")
        for message in sorted(set(ledger.most) | set(count)):
            n, least, most = count.get(message, 0), ledger.least.get(message, 0), ledger.most.get(message, 0)
            if n < least:
                ledger.complain("lost", f"{server.name} {when}: {message} is there {n} times, not {least}")
            if n > most:
                ledger.complain("too many", f"{server.name} {when}: {message} is there {n} times, not {most}")
    for server, s in zip(servers[1:], seen[1:]):
        for d in snapshot.differences(seen[0], s):
            ledger.complain("different", f"{when}: {servers[0].name} and {server.name}: {d}")
    return seen[0]


def places(writers, seen, ledger, when):
    """A message has the UID that its writer was told last."""
    for w in writers:
        for message, known in w.mine.items():
            for folder, uid in known:
                there = seen["folders"][folder]["messages"]
                if uid is not None and (uid not in there or there[uid][4] != message):
                    now = [(n, u) for n, f in seen["folders"].items() for u, x in f["messages"].items() if x[4] == message]
                    ledger.complain("uid changed", f"{when}: {message} was {folder} UID {uid}, told by {ledger.first.get((folder, uid))}, and is "
                                    + ", ".join(f"{n} UID {u}, told by {ledger.first.get((n, u))}" for n, u in now))


def main():
    kind, binary, where, seconds = sys.argv[1:5]
    seed = int(sys.argv[5]) if len(sys.argv) > 5 else 1
    kills = int(sys.argv[6]) if len(sys.argv) > 6 else 4
    mail, users = os.path.join(where, "mail"), os.path.join(where, "users")
    os.makedirs(mail)

    def box(name):
        return Letterbox(binary, os.path.join(where, name), mail, users)
    if kind == "dovecots":  # to try this tool itself
        one = Dovecot(os.path.join(where, "d1"), mail)
        two = Dovecot(os.path.join(where, "d2"), mail)
        two.name = "dovecot 2"
    else:
        one = box("l1")
        one.user(USER)
        two = Dovecot(os.path.join(where, "d"), mail) if kind == "dovecot" else box("l2")
        if kind != "dovecot":
            two.name = "letterbox 2"
    servers = [one.start(), two.start()]
    setup = Imap(one.imap, USER)
    for f in FOLDERS[1:]:
        try:
            setup.command("CREATE " + snapshot.quoted(f))
        except Refused as err:
            if "EXISTS" not in str(err):
                raise
    setup.logout()

    ledger, stop = Ledger(os.path.join(where, "ledger.txt")), threading.Event()
    writers = [Writer(f"{s.name.replace(' ', '')}-{i}", s, ledger, seed * 100 + n * 10 + i, stop)
               for n, s in enumerate(servers) for i in range(4)]
    began = time.monotonic()
    for w in writers:
        w.start()
    chance = random.Random(seed)
    victim, next_kill = 0, float(seconds) / (kills + 1)
    while (now := time.monotonic() - began) < float(seconds):
        time.sleep(0.2)
        if now > next_kill and victim < kills:
            s = servers[victim % 2]
            print(f"# {now:.0f} s: SIGKILL to {s.name}", flush=True)
            ledger.does("SIGKILL", s.name)
            s.kill()
            time.sleep(chance.random())
            s.start()
            victim += 1
            next_kill += float(seconds) / (kills + 1)
    stop.set()
    for w in writers:
        w.join(90)
        if w.is_alive():
            ledger.complain("stuck", f"{w.name} in {w.act}")
    time.sleep(4)  # a change in the same clock tick as a look is found by a later look
    print("# " + ", ".join(f"{n} {a}" for a, n in sorted(ledger.acts.items())), flush=True)

    seen = look_at_all(servers, ledger, "at the end")
    places(writers, seen, ledger, "at the end")
    for s in servers:
        s.kill()
        s.start()
    look_at_all(servers, ledger, "after SIGKILL of both")
    for s in servers:
        s.stop()
    for directory, _, files in os.walk(mail):
        for f in files:
            if f.startswith(("dovecot.index", "dovecot.list.index", "dovecot.mailbox.log", "letterbox.index")):
                os.remove(os.path.join(directory, f))
    for s in servers:
        s.start()
    seen = look_at_all(servers, ledger, "without caches")
    places(writers, seen, ledger, "without caches")
    for s in servers:
        s.stop()
        for t in s.troubles():
            ledger.complain("log", f"{s.name}: {t}")
    left = [os.path.join(d, f) for d, _, fs in os.walk(mail) for f in fs if os.path.basename(d) == "tmp" or f.endswith(".lock")]
    print(f"# {len(ledger.named)} UIDs told, {len(ledger.most)} messages, "
          f"{sum(len(f['messages']) for f in seen['folders'].values())} there now, {len(left)} files left over in tmp or as locks")
    kinds = {}
    for what, words in ledger.wrong:
        kinds.setdefault(what, []).append(words)
    for what in ("lost", "too many", "uid reused", "uid changed", "uidvalidity", "uidnext", "vanished", "not expunged", "different",
                 "refused", "stuck", "writer", "log"):
        if what in kinds:
            print(f"not ok {kind}: {what}: {len(kinds[what])} times")
            for words in kinds[what][:12]:
                print(f"#    {words}")
        else:
            print(f"ok {kind}: nothing is {what}" if what in ("lost", "too many", "different", "refused", "stuck", "vanished", "not expunged")
                  else f"ok {kind}: {what}: none")


if __name__ == "__main__":
    main()
