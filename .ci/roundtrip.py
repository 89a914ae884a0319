"""One round trip with a binary under an emulator: start, user add, SMTP in, POP3 and IMAP
read, stop. usage: roundtrip.py WORKDIR NAME BINARY [EMULATOR]"""

import os
import smtplib
import ssl
import sys
import time

from servers import PASSWORD, Letterbox
from wire import Imap, Pop3

MESSAGE = b"From: a@box.test\r\nTo: alice@box.test\r\nSubject: round trip\r\n\r\n" + b"A line of text.\r\n" * 4000


def main():
    where, name, binary, *emulator = sys.argv[1:]
    os.makedirs(where)
    box = Letterbox(binary, where, os.path.join(where, "mail"), os.path.join(where, "users"), emulator=emulator)
    version = box.run_plain("version").strip()
    box.user("first")  # before the start, or one is made
    box.start()
    box.user("alice")
    context = ssl.create_default_context(cafile=box.ca)
    with smtplib.SMTP("127.0.0.1", box.smtp, timeout=60) as s:
        s.sendmail("a@box.test", ["alice@box.test"], MESSAGE)
    with smtplib.SMTP("localhost", box.submission, timeout=60) as s:
        s.starttls(context=context)
        s.login("alice", PASSWORD)
        s.sendmail("a@box.test", ["alice@box.test"], MESSAGE)
    pop = Pop3(box.pop3)
    listed = pop.lines("UIDL")
    assert len(listed) == 2, listed
    got = b"\r\n".join(pop.lines("RETR 1")) + b"\r\n"
    assert got.endswith(MESSAGE), got[:500]
    pop.quit()
    imap = Imap(box.imap)
    imap.command("SELECT INBOX")
    untagged, _ = imap.command("FETCH 2 (FLAGS ENVELOPE BODYSTRUCTURE BODY[])")
    assert MESSAGE in untagged[0], untagged[0][:500]
    untagged, _ = imap.command('SEARCH SUBJECT "round trip" BODY "line of text"')
    assert untagged == [b"* SEARCH 1 2"], untagged
    imap.command("MOVE 1 Trash")
    imap.logout()
    box.stop()
    for t in box.troubles():
        print(f"not ok {name}: {t}")
    box.start()
    imap = Imap(box.imap)
    untagged, _ = imap.command("STATUS Trash (MESSAGES UNSEEN)")
    assert untagged[0].startswith(b"* STATUS Trash (MESSAGES 1"), untagged
    imap.logout()
    began = time.monotonic()
    box.stop()
    print(f"ok {name}: {version}; stopped in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
