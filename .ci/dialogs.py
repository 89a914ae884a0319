"""Plays the dialogs of testdata/imap and testdata/pop3 against Dovecot, and compares what the
answers mean. usage: dialogs.py TESTS SOURCE WORKDIR KNOWN

TESTS is the test binary, SOURCE holds testdata. KNOWN lists the differences that are known, with
the RFC's word on them; any other is a failure, and so is one that is listed and does not occur."""

import os
import re
import subprocess
import sys

from servers import Dovecot, free_port

# What Letterbox has of itself must be asked for in Dovecot's configuration.
EXTRA = """
mail_plugins = quota acl zlib notify
mail_attribute_dict = file:%h/attributes
auth_failure_delay = 0
auth_mechanisms = MECHANISMS
protocol imap {
  mail_plugins = $mail_plugins imap_quota imap_acl imap_zlib
  imap_metadata = yes
}
plugin {
  quota = "maildir:#user/%u"
  quota_rule = *:QUOTA
  quota_max_mail_size = 1M
}
namespace inbox {
  mailbox Drafts {
    special_use = \\Drafts
    auto = subscribe
  }
  mailbox Sent {
    special_use = \\Sent
    auto = subscribe
  }
  mailbox Trash {
    special_use = \\Trash
    auto = subscribe
  }
  mailbox Junk {
    special_use = \\Junk
    auto = subscribe
  }
  mailbox Archive {
    special_use = \\Archive
    auto = create
  }
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
ssl = yes
ssl_cert = <DIR/cert.pem
ssl_key = <DIR/key.pem
"""

# Folders of others, as far as they allow it.
SHARED = """
plugin {
  acl = vfile
  acl_shared_dict = file:DIR/shared
}
namespace shared {
  type = shared
  separator = /
  prefix = Shared/%%u/
  location = maildir:DIR/mail/%%u
  list = children
  subscriptions = no
}
"""


def certificate(where):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                    "-subj", "/CN=localhost", "-keyout", where + "/key.pem", "-out", where + "/cert.pem"], check=True, capture_output=True)


def play(tests, source, where, dialogs, has="", quota="storage=1G", mechanisms="plain login scram-sha-256", more=""):
    """Gives the differences, and the names of the dialogs that were played."""
    os.makedirs(where + "/mail")
    certificate(where)
    open(where + "/mail/dialog-scratch", "w").close()
    extra = (EXTRA + more).replace("DIR", where).replace("QUOTA", quota).replace("MECHANISMS", mechanisms)
    dove = Dovecot(where + "/d", where + "/mail", users=("alice", "bob", "carol", "dave"), extra=extra).start()
    told = where + "/differences"
    open(told, "w").close()
    try:
        done = subprocess.run([tests, "-test.run", dialogs, "-test.v", f"-dialog-imap=127.0.0.1:{dove.imap}", f"-dialog-pop3=127.0.0.1:{dove.pop3}",
                               "-dialog-root", where + "/mail", "-dialog-differences", told, "-dialog-with", has],
                              cwd=source, capture_output=True, text=True, timeout=300)
    finally:
        dove.stop()
    if done.returncode != 0:
        end = [line for line in done.stdout.splitlines() if not re.search("=== |--- PASS|--- SKIP|needs a", line)][-40:]
        print("not ok the dialogs: " + "\n# ".join([*end, done.stderr[-3000:]]))
    if os.environ.get("VERBOSE"):
        print(done.stdout)
    played = {f"{door.lower()}/{name}" for door, name in re.findall(r"--- PASS: Test(Imap|Pop)Dialogs/(\S+)", done.stdout)}
    with open(told, errors="surrogateescape") as f:
        return [Difference(*line.rstrip("\n").split("\t")) for line in f], played


class Difference:
    def __init__(self, dialog, tag, wanted, said):
        self.where, self.what = f"{dialog} {tag}", f"{wanted} => {said}"

    def __str__(self):
        return f"{self.where}: {self.what}"


class Known:
    """A line of the list: "dialog tag,tag: wanted => said | why"."""

    def __init__(self, line):
        self.line, self.used = line, 0
        where, _, what = line.rpartition(" | ")[0].strip().partition(": ")
        dialog, _, tags = where.partition(" ")
        self.where = [pattern(f"{dialog} {tag}") for tag in tags.split(",")]
        self.what = pattern(what or "*")

    def fits(self, d):
        return any(w.fullmatch(d.where) for w in self.where) and self.what.fullmatch(d.what)


def pattern(text):
    return re.compile(".*".join(re.escape(part) for part in text.split("*")), re.S)


def main():
    tests, source, where, known_path = sys.argv[1:]
    os.makedirs(where)
    with open(known_path) as f:
        known = [Known(line.rstrip("\n")) for line in f if " | " in line and not line.startswith("#")]
    runs = [play(tests, source, where + "/imap", "^TestImapDialogs$", has="comment The box in the hall"),
            play(tests, source, where + "/pop3", "^TestPopDialogs$", has="uidl dovecot", mechanisms="plain"),
            play(tests, source, where + "/quota", "^TestImapDialogs$/^quota$", has="quota 2048S,4C", quota="storage=2K:messages=4"),
            play(tests, source, where + "/acl", "^TestImapDialogs$/^acl", more=SHARED,
                 has="users alice bob;users alice bob carol;users alice bob carol dave")]
    played, found = set(), []
    for differences, names in runs:
        played |= names
        found += differences
    strange = 0
    for d in found:
        fitting = [k for k in known if k.fits(d)]
        for k in fitting:
            k.used += 1
        if not fitting:
            strange += 1
            print(f"not ok {d}"[:600])
    for k in known:
        if not k.used and "| at times:" not in k.line:
            print(f"not ok this does not differ any more: {k.line}")
    alike = played - {d.where.split(" ")[0] for d in found}
    print(f"{'ok' if not strange else '#'} {len(played)} dialogs, {len(alike)} of them the same all through, {len(found)} differences, {len(known)} lines about them")


if __name__ == "__main__":
    main()
