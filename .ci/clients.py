"""Real mail clients, as Debian packages them, against a running Letterbox. Each has a user
of its own; what arrived is compared byte for byte with what was sent.

usage: clients.py BINARY WORKDIR [NAME...]"""

import email
import glob
import imaplib
import os
import poplib
import re
import pty
import select
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
import traceback
from contextlib import contextmanager

import extensions
import snapshot
from servers import PASSWORD, Letterbox, tail
from wire import Imap, Pop3

CLIENTS = {}


def client(f):
    CLIENTS[f.__name__] = f
    return f


class Home:
    """The scratch directory, the server, and one client's user."""

    def __init__(self, box, where, mail, user):
        self.box, self.mail, self.user = box, mail, user
        self.dir = os.path.join(where, user)
        os.makedirs(self.dir)
        box.user(user)
        with socket.create_connection(("127.0.0.1", box.imap)) as s:
            s.recv(1)
        self.ca = box.ca

    def file(self, name, content, mode=0o600):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.write(content if isinstance(content, bytes) else content.encode())
        os.chmod(path, mode)
        return path

    def run(self, *command, status=0, input=None, timeout=60):
        env = {"PATH": os.environ["PATH"] + ":/usr/sbin", "HOME": self.dir, "LC_ALL": "C.UTF-8", "TERM": "xterm"}
        done = subprocess.run(command, input=input, capture_output=True, timeout=timeout, env=env, cwd=self.dir)
        if status is not None and done.returncode != status:
            raise AssertionError(f"{' '.join(command)}: status {done.returncode}: "
                                 f"{done.stdout.decode(errors='replace')}{done.stderr.decode(errors='replace')}")
        return done.stdout

    def stored(self, folder=""):
        """The bytes of the messages in a folder, oldest first."""
        paths = glob.glob(os.path.join(self.mail, self.user, folder, "new", "*")) + \
            glob.glob(os.path.join(self.mail, self.user, folder, "cur", "*"))
        found = []
        for path in sorted(paths, key=made):
            with open(path, "rb") as f:
                found.append(f.read())
        return found

    def put(self, *messages):
        """Lays mail into the user's Maildir as another program would."""
        for i, m in enumerate(messages):
            name = f"{1700000000 + i}.M{i}P1.other"
            path = os.path.join(self.mail, self.user, "new", name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as f:
                f.write(m)


def made(path):
    """When a Maildir name says it was made: seconds, then microseconds, which stand without leading zeros."""
    seconds, micro = re.match(r"(\d+)\.M(\d+)", os.path.basename(path)).groups()
    return int(seconds), int(micro)


def same(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}: got {short(got)}, wanted {short(wanted)}")


def short(v):
    v = repr(v)
    return v if len(v) < 600 else f"{v[:300]} ... {v[-250:]} ({len(v)} characters)"


def arrived(home, sent, folder=""):
    """The newest message is what was sent, below the lines that a server puts on top."""
    stored = home.stored(folder)
    assert stored, "nothing arrived"
    got = stored[-1]
    assert got.endswith(sent), f"got {short(got)}, which does not end with {short(sent)}"
    top = got[:len(got) - len(sent)]
    assert top.startswith(b"Return-Path: <") and b"\r\nReceived: from " in top and b"Delivered-To:" in top, f"on top: {top!r}"


def letter(n, text=b"Hello.\r\n"):
    return (b"From: Sender <sender@box.test>\r\nTo: Someone <someone@box.test>\r\nSubject: Letter %d\r\n"
            b"Date: Mon, 2 Mar 2026 10:00:%02d +0100\r\nMessage-ID: <letter%d@clients.test>\r\n\r\n" % (n, n % 60, n)) + text


AWKWARD = [
    letter(1),
    letter(2, b".\r\n..\r\n...two dots\r\n.\r\n"),
    letter(3, b"x" * 100000 + b"\r\n"),
    letter(4, "Gr\u00fc\u00dfe \u65e5\u672c\r\n".encode()),
    letter(5, b""),
    letter(6, b"\r\n\r\n"),
    letter(7, b"line\r\n" * 20000),
]


@client
def smtplib_(home):
    with smtplib.SMTP("127.0.0.1", home.box.smtp, timeout=30) as s:
        s.ehlo("client.test")
        for m in AWKWARD:
            s.sendmail("sender@box.test", [home.user], m)
            arrived(home, m)
        same("RCPT of an unknown user", s.docmd("MAIL FROM:<a@box.test>")[0], 250)
        same("RCPT of an unknown user", s.docmd("RCPT TO:<nobody-here@box.test>")[0] // 100, 5)
        same("no open relay", s.docmd("RCPT TO:<someone@example.net>")[0] // 100, 5)
    with smtplib.SMTP("127.0.0.1", home.box.submission, timeout=30) as s:
        s.ehlo("client.test")
        s.starttls(context=trusting(home))
        s.ehlo("client.test")
        s.login(home.user, PASSWORD)
        s.sendmail("sender@box.test", [f"{home.user}@box.test"], letter(8))
        arrived(home, letter(8))
    with smtplib.SMTP_SSL("localhost", home.box.submissions, timeout=30, context=trusting(home)) as s:
        try:
            s.login(home.user, "wrong")
            raise AssertionError("a wrong password was taken")
        except smtplib.SMTPAuthenticationError as err:
            same("a wrong password", err.smtp_code, 535)
        s.login(home.user, PASSWORD)
        s.sendmail("sender@box.test", [home.user], letter(9))
        arrived(home, letter(9))
    with smtplib.LMTP("127.0.0.1", home.box.lmtp) as s:
        s.sendmail("sender@box.test", [home.user], letter(10))
        arrived(home, letter(10))
    same("messages", len(home.stored()), len(AWKWARD) + 3)


def trusting(home):
    context = ssl.create_default_context(cafile=home.ca)
    return context


@client
def poplib_(home):
    home.put(*AWKWARD)
    for open_ in (lambda: poplib.POP3("127.0.0.1", home.box.pop3, timeout=30),
                  lambda: poplib.POP3_SSL("localhost", home.box.pop3s, context=trusting(home), timeout=30)):
        p = open_()
        if isinstance(p, poplib.POP3_SSL):
            p.user(home.user)
            p.pass_(PASSWORD)
        else:
            p.stls(trusting(home)) if "STLS" in p.capa() else None
            p.user(home.user)
            p.pass_(PASSWORD)
        poplib._MAXLINE = 1 << 20
        same("STAT", p.stat(), (len(AWKWARD), sum(len(m) for m in AWKWARD)))
        for i, m in enumerate(AWKWARD, 1):
            same(f"RETR {i}", b"\r\n".join(p.retr(i)[1]) + b"\r\n", m)
            same(f"LIST {i}", p.list(i).split()[-1], b"%d" % len(m))
        same("TOP", b"\r\n".join(p.top(7, 3)[1]), letter(7, b"line\r\n" * 3)[:-2])
        same("UIDL", len({u.split()[1] for u in p.uidl()[1]}), len(AWKWARD))
        p.rset()
        p.quit()
    p = poplib.POP3("127.0.0.1", home.box.pop3, timeout=30)
    p.user(home.user)
    p.pass_(PASSWORD)
    p.dele(2)
    p.quit()
    p = poplib.POP3("127.0.0.1", home.box.pop3, timeout=30)
    p.user(home.user)
    p.pass_(PASSWORD)
    same("messages after DELE", p.stat()[0], len(AWKWARD) - 1)
    p.quit()


@client
def imaplib_(home):
    home.put(*AWKWARD)
    i = imaplib.IMAP4("127.0.0.1", home.box.imap, timeout=30)
    i.starttls(trusting(home))
    i.login(home.user, PASSWORD)
    same("SELECT", i.select("INBOX")[1], [b"%d" % len(AWKWARD)])
    for n, m in enumerate(AWKWARD, 1):
        same(f"FETCH {n}", i.fetch(str(n), "(RFC822)")[1][0][1], m)
    same("SEARCH", i.search(None, "SUBJECT", "4")[1], [b"4"])
    same("STORE", i.store("1:2", "+FLAGS", r"(\Flagged Important)")[0], "OK")
    same("CREATE", i.create("Box/Inner")[0], "OK")
    same("SUBSCRIBE", i.subscribe("Box/Inner")[0], "OK")
    same("COPY", i.copy("1,3", "Box/Inner")[0], "OK")
    same("APPEND", i.append("Box/Inner", r"(\Seen)", imaplib.Time2Internaldate(1700000000), letter(20))[0], "OK")
    same("STORE", i.store("3", "+FLAGS", r"(\Deleted)")[0], "OK")
    same("EXPUNGE", i.expunge()[1], [b"3"])
    same("SELECT", i.select("Box/Inner")[1], [b"3"])
    same("APPEND, read", i.fetch("3", "(BODY.PEEK[])")[1][0][1], letter(20))
    same("STATUS", i.status("INBOX", "(MESSAGES)")[1], [b"INBOX (MESSAGES %d)" % (len(AWKWARD) - 1)])
    i.close()
    same("RENAME", i.rename("Box/Inner", "Box/Outer")[0], "OK")
    same("LIST", len(i.list('""', "Box/*")[1]), 1)
    same("DELETE", i.delete("Box/Outer")[0], "OK")
    i.logout()
    with imaplib.IMAP4_SSL("localhost", home.box.imaps, ssl_context=trusting(home), timeout=30) as s:
        s.login(home.user, PASSWORD)
        same("SELECT by TLS", s.select("INBOX")[1], [b"%d" % (len(AWKWARD) - 1)])


def certificate(home):
    """A certificate for the client's user, signed by the CA that the server knows."""
    key, request, cert = (os.path.join(home.dir, name) for name in ("own.key", "own.csr", "own.pem"))
    home.run("openssl", "req", *NEW_KEY, "-subj", f"/CN={home.user}", "-keyout", key, "-out", request)
    home.run("openssl", "x509", "-req", "-in", request, "-CA", home.box.clients + ".pem", "-CAkey", home.box.clients + ".key",
             "-CAcreateserial", "-days", "2", "-extfile", home.file("ext", "extendedKeyUsage=clientAuth\n"), "-out", cert)
    return "--cert", cert, "--key", key


NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@client
def curl(home):
    who, box = f"{home.user}:{PASSWORD}", home.box
    m = home.file("m", letter(1))
    tls = ("--cacert", home.ca, "--ssl-reqd")
    mail = ("--mail-from", "sender@box.test", "--mail-rcpt", f"{home.user}@box.test", "-T", m)
    home.run("curl", "-sS", f"smtp://127.0.0.1:{box.smtp}/client.test", *mail)
    arrived(home, letter(1))
    home.run("curl", "-sS", f"smtp://localhost:{box.submission}/client.test", "-u", who, *tls, *mail)
    arrived(home, letter(1))
    home.run("curl", "-sS", f"smtps://localhost:{box.submissions}/client.test", "-u", who, *tls, *mail)
    arrived(home, letter(1))
    stored = home.stored()
    for url, more in ((f"imap://localhost:{box.imap}", tls), (f"imaps://localhost:{box.imaps}", tls), (f"imap://127.0.0.1:{box.imap}", ())):
        for i, want in enumerate(stored, 1):
            same(f"{url} {i}", home.run("curl", "-sS", f"{url}/INBOX;MAILINDEX={i}", "-u", who, *more), want)
        same("its text", home.run("curl", "-sS", f"{url}/INBOX;MAILINDEX=1;SECTION=TEXT", "-u", who, *more), b"Hello.\r\n")
        same("search", home.run("curl", "-sS", f"{url}/INBOX?SUBJECT%20Letter", "-u", who, *more).strip(), b"* SEARCH 1 2 3")
    url = f"imap://127.0.0.1:{box.imap}"
    assert b"INBOX" in home.run("curl", "-sS", f"{url}/", "-u", who)
    home.run("curl", "-sS", f"{url}/", "-u", who, "-X", "CREATE Curled")
    home.run("curl", "-sS", f"{url}/Curled", "-u", who, "-T", m)
    same("APPEND", home.stored(".Curled"), [letter(1)])
    home.run("curl", "-sS", f"{url}/INBOX", "-u", who, "-X", r"STORE 1 +FLAGS \Deleted")
    home.run("curl", "-sS", f"{url}/INBOX", "-u", who, "-X", "EXPUNGE")
    same("messages", home.stored(), stored[1:])
    for url, more in ((f"pop3://localhost:{box.pop3}", tls), (f"pop3s://localhost:{box.pop3s}", tls), (f"pop3://127.0.0.1:{box.pop3}", ())):
        same(url, home.run("curl", "-sS", f"{url}/2", "-u", who, *more), stored[2])
        same("LIST", home.run("curl", "-sS", f"{url}/", "-u", who, *more).split(), [b"1", b"%d" % len(stored[1]), b"2", b"%d" % len(stored[2])])
    own = (*certificate(home), *tls, "--login-options", "AUTH=EXTERNAL", "-u", f"{home.user}:")
    home.run("curl", "-sS", f"smtp://localhost:{box.submission}/client.test", *own, *mail)
    same("by certificate", home.run("curl", "-sS", f"imaps://localhost:{box.imaps}/INBOX;MAILINDEX=2", *own), stored[2])
    same("by certificate", home.run("curl", "-sS", f"pop3://localhost:{box.pop3}/2", *own), stored[2])
    home.run("curl", "-sS", f"pop3://127.0.0.1:{box.pop3}/1", "-u", f"{home.user}:wrong", status=67)
    home.run("curl", "-sS", f"imap://127.0.0.1:{box.imap}/INBOX;MAILINDEX=1", "-u", f"{home.user}:wrong", status=67)
    home.run("curl", "-sS", f"smtp://127.0.0.1:{box.smtp}/client.test", "--mail-from", "a@box.test", "--mail-rcpt", "b@example.net", "-T", m, status=55)


@client
def swaks(home):
    body = letter(1).decode().replace("\r\n", "\\n")
    box, to = home.box, ("--to", f"{home.user}@box.test", "--from", "sender@box.test", "--helo", "client.test", "--data", body)
    tls = ("--tls-verify", "--tls-ca-path", home.ca, "--tls-sni", "localhost")
    for server, more in ((f"127.0.0.1:{box.smtp}", ()), (f"localhost:{box.submission}", ("-tls", *tls, "-a", "PLAIN", "-au", home.user, "-ap", PASSWORD)),
                         (f"localhost:{box.submissions}", ("-tlsc", *tls, "-a", "LOGIN", "-au", home.user, "-ap", PASSWORD)),
                         (f"127.0.0.1:{box.lmtp}", ("--protocol", "LMTP"))):
        before = len(home.stored())
        home.run("swaks", "--server", server, *to, *more)
        same("messages", len(home.stored()), before + 1)
        assert b"Subject: Letter 1\r\n" in home.stored()[-1] and b"\r\n\r\nHello.\r\n" in home.stored()[-1]
    home.run("swaks", "--server", f"127.0.0.1:{box.smtp}", "--pipeline", *to)
    home.run("swaks", "--server", f"127.0.0.1:{box.smtp}", "--from", "a@box.test", "--to", "someone@example.net", status=24)


@client
def msmtp(home):
    m = letter(1).replace(b"\r\n", b"\n")
    rc = home.file("msmtprc", f"""
defaults
from sender@box.test
domain client.test
account plain
host 127.0.0.1
port {home.box.smtp}
account tls
host localhost
port {home.box.submission}
tls on
tls_starttls on
tls_trust_file {home.ca}
auth on
user {home.user}
password {PASSWORD}
account wrapped : tls
port {home.box.submissions}
tls_starttls off
""")
    for account in ("plain", "tls", "wrapped"):
        home.run("msmtp", "-C", rc, "-a", account, f"{home.user}@box.test", input=m)
        arrived(home, letter(1))
    home.run("msmtp", "-C", rc, "-a", "plain", home.user, input=m)  # as cron has it: no domain
    arrived(home, letter(1))
    same("messages", len(home.stored()), 4)


def local_maildir(path):
    found = []
    for p in glob.glob(os.path.join(path, "new", "*")) + glob.glob(os.path.join(path, "cur", "*")):
        with open(p, "rb") as f:
            found.append(f.read())
    return found


def unix(m):
    return m.replace(b"\r\n", b"\n")


def fits_pop():
    """Without the line of 100,000 characters, which these clients cut themselves."""
    return [m for m in AWKWARD if b"x" * 99999 not in m]


@client
def mpop(home):
    wanted = fits_pop()
    home.put(*wanted)
    for d in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(home.dir, "in", d))
    for port, more in ((home.box.pop3, "tls_starttls on"), (home.box.pop3s, "tls_starttls off")):
        rc = home.file("mpoprc", f"account a\nhost localhost\nport {port}\nuser {home.user}\npassword {PASSWORD}\nauth on\n"
                       f"tls on\n{more}\ntls_trust_file {home.ca}\nkeep on\nonly_new on\nreceived_header off\n"
                       f"uidls_file {home.dir}/uidls\ndelivery maildir {home.dir}/in\n")
        home.run("mpop", "-C", rc, "a")  # the second time there is nothing new
        same("messages", sorted(local_maildir(home.dir + "/in")), sorted(unix(m) for m in wanted))
    rc = home.file("mpoprc", f"account a\nhost 127.0.0.1\nport {home.box.pop3}\nuser {home.user}\npassword {PASSWORD}\nauth user\n"
                   f"keep off\nonly_new off\nreceived_header off\nuidls_file {home.dir}/uidls\ndelivery mbox {home.dir}/mbox\n")
    home.run("mpop", "-C", rc, "a")
    pop = Pop3(home.box.pop3, home.user)
    same("left over", pop.lines("LIST"), [])
    pop.quit()
    same("kept for IMAP", len(home.stored()), len(wanted))


@client
def getmail(home):
    wanted = fits_pop()
    home.put(*wanted)
    for d in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(home.dir, "in", d))
    for kind, port, more in (("SimplePOP3Retriever", home.box.pop3, ""), ("SimplePOP3SSLRetriever", home.box.pop3s, f"ca_certs = {home.ca}")):
        rc = home.file(f"{kind}rc", f"[retriever]\ntype = {kind}\nserver = localhost\nport = {port}\nusername = {home.user}\npassword = {PASSWORD}\n{more}\n"
                       f"[destination]\ntype = Maildir\npath = {home.dir}/in/\n[options]\nread_all = false\ndelivered_to = false\nreceived = false\ndelete = false\n")
        home.run("getmail", "--getmaildir", home.dir, "--rcfile", rc)
    got = local_maildir(home.dir + "/in")
    # Two accounts to getmail: each message comes twice.
    same("messages", len(got), 2 * len(wanted))
    # It puts a Return-Path on top and sees to one line end at the end.
    bare = [g.partition(b"\n")[2].rstrip(b"\n") for g in got]
    for m in wanted:
        same(f"times {m[:120]!r}", bare.count(unix(m).rstrip(b"\n")), 2)
    rc = home.file("again", open(home.dir + "/SimplePOP3Retrieverrc").read().replace("delete = false", "delete = true"))
    home.run("getmail", "--getmaildir", home.dir, "--rcfile", rc)
    home.run("getmail", "--getmaildir", home.dir, "--rcfile", home.dir + "/SimplePOP3Retrieverrc")
    same("nothing new", len(local_maildir(home.dir + "/in")), 2 * len(wanted))


@client
def fetchmail(home):
    wanted = fits_pop()
    home.put(*wanted)
    for proto, port, tls, more in (("pop3", home.box.pop3, "sslproto 'TLS1.2+'", "uidl"), ("pop3", home.box.pop3s, "ssl", "uidl"), ("imap", home.box.imap, "sslproto 'TLS1.2+'", "")):
        mbox = os.path.join(home.dir, f"{proto}{port}")
        mda = home.file("mda", f"#!/bin/sh\ncat >>{mbox}\necho '-- end --' >>{mbox}\n", 0o700)
        rc = home.file("fetchmailrc", f"poll localhost protocol {proto} port {port} {more}\n  user '{home.user}' password '{PASSWORD}' is nobody here\n"
                       f"  {tls} sslcertck sslcertfile '{home.ca}'\n  keep fetchall mda '{mda}'\n")
        home.run("fetchmail", "-f", rc, "--nosyslog", "--nodetach", "-i", home.dir + "/ids", "--pidfile", home.dir + "/pid")
        with open(mbox, "rb") as f:
            got = f.read().split(b"-- end --\n")[:-1]
        same("messages", len(got), len(wanted))
        for g, m in zip(got, wanted):
            head, _, text = unix(m).partition(b"\n\n")
            got_head, _, got_text = g.partition(b"\n\n")
            same("text", got_text.rstrip(b"\n"), text.rstrip(b"\n"))
            for line in head.split(b"\n"):
                assert line in got_head or line.startswith((b"From", b"To")), f"{line} is not in {got_head}"


def screen_of(what, command, env):
    """Runs a program that wants a terminal until it ends; it must end well."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execvpe(command[0], command, env)
    screen, end = b"", time.monotonic() + 60
    while time.monotonic() < end:
        if select.select([fd], [], [], 1)[0]:
            try:
                data = os.read(fd, 65536)
            except OSError:
                break
            if not data:
                break
            screen += data
    else:
        os.kill(pid, 9)
    status = os.waitpid(pid, 0)[1]
    assert status == 0, f"{what}: status {status}: {screen[-1500:]!r}"


@client
def mutt(home):
    home.put(*AWKWARD)
    m = home.dir + "/out"
    rc = home.file("muttrc", f"""
set folder="imap://{home.user}@127.0.0.1:{home.box.imap}/" imap_pass="{PASSWORD}" ssl_starttls=no ssl_force_tls=no
set spoolfile="+INBOX" mail_check=1 timeout=1 delete=yes move=no quit=yes confirmappend=no confirmcreate=no mbox_type=mbox
set copy=no header_cache="" wait_key=no beep=no imap_check_subscribed=no imap_idle=no
""")
    env = {"PATH": os.environ["PATH"], "HOME": home.dir, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    keys = (f"<tag-pattern>~A<enter><tag-prefix><copy-message>{m}<enter>"
            "<jump>1<enter><flag-message><jump>2<enter><delete-message><jump>4<enter><copy-message>=Mutted<enter><quit>")
    screen_of("mutt", ["mutt", "-n", "-F", rc, "-e", f"push \"{keys}\""], env)
    with open(m, "rb") as f:
        mbox = f.read()
    for a in AWKWARD:
        head, _, text = unix(a).partition(b"\n\n")
        assert text.rstrip(b"\n") in mbox, f"{head} is not in mutt's mbox"
    i = Imap(home.box.imap, home.user)
    i.command("SELECT INBOX")
    got = snapshot.fetched(i.command("UID FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])")[0])
    same("UIDs", sorted(got), [1, 3, 4, 5, 6, 7])
    assert "\\flagged" in got[1][0], got[1]
    i.command("SELECT Mutted")
    i.logout()
    same("copied", home.stored(".Mutted"), [AWKWARD[3]])
    sent = home.file("body", "Hello from mutt.\n")
    rc = home.file("sendrc", f"""
set smtp_url=smtp://{home.user}@localhost:{home.box.submission}/ smtp_pass={PASSWORD} ssl_starttls=yes ssl_force_tls=yes
set ssl_ca_certificates_file={home.ca} from=sender@box.test copy=no hostname=client.test
""")
    home.run("mutt", "-n", "-F", rc, "-s", "By mutt", f"{home.user}@box.test", input=open(sent, "rb").read())
    assert home.stored()[-1].endswith(b"\r\n\r\nHello from mutt.\r\n"), home.stored()[-1]


@client
def mutt_qresync(home):
    """mutt keeps headers and mod-sequences, and comes back after others have changed the mailbox; all of it compressed."""
    home.put(*AWKWARD)
    rc = home.file("muttrc", f"""
set folder="imap://{home.user}@127.0.0.1:{home.box.imap}/" imap_pass="{PASSWORD}" ssl_starttls=no ssl_force_tls=no
set spoolfile="+INBOX" mail_check=1 timeout=1 delete=yes move=no quit=yes confirmappend=no confirmcreate=no mbox_type=mbox
set copy=no header_cache="{home.dir}/headers" wait_key=no beep=no imap_check_subscribed=no imap_idle=no
set imap_condstore=yes imap_qresync=yes imap_deflate=yes
""")
    env = {"PATH": os.environ["PATH"], "HOME": home.dir, "TERM": "xterm", "LC_ALL": "C.UTF-8"}

    def session(name, pattern):
        saved, log = f"{home.dir}/{name}", f"{home.dir}/.muttdebug0"
        keys = f"<tag-pattern>{pattern}<enter><tag-prefix><copy-message>{saved}<enter><quit>"
        screen_of("mutt", ["mutt", "-n", "-d", "2", "-F", rc, "-e", f"push \"{keys}\""], env)
        with open(saved, "rb") as f, open(log, "rb") as g:
            return re.findall(rb"^Message-ID: <(.*)>", f.read(), re.M), g.read()

    same("at first", session("first", "~A")[0], [b"letter%d@clients.test" % n for n in range(1, 8)])
    with raw(home) as i:
        i.command("UID STORE 2 +FLAGS.SILENT (\\Flagged)")
        i.command("UID STORE 3,5 +FLAGS.SILENT (\\Deleted)")
        i.command("UID EXPUNGE 3,5")
    home.put(letter(8))
    got, log = session("second", "~A")
    same("when it comes back", got, [b"letter%d@clients.test" % n for n in (1, 2, 4, 6, 7, 8)])
    assert b" VANISHED)" in log and b"VANISHED (EARLIER) 3,5" in log, "mutt did not use QRESYNC: " + log.decode(errors="replace")[-3000:]
    assert b"COMPRESS DEFLATE" in log, "mutt did not compress"
    same("flagged", session("third", "~F")[0], [b"letter2@clients.test"])


@contextmanager
def raw(home, folder="INBOX"):
    i = Imap(home.box.imap, home.user)
    i.command("SELECT " + snapshot.quoted(folder))
    yield i
    i.logout()


@client
def mbsync(home):
    """Two-way, with changes on both sides, until both sides are the same; its password is never sent."""
    home.put(*AWKWARD)
    local = os.path.join(home.dir, "near")
    os.makedirs(local)
    rc = home.file("mbsyncrc", f"""
IMAPAccount far
Host localhost
Port {home.box.imap}
User {home.user}
Pass {PASSWORD}
SSLType STARTTLS
CertificateFile {home.ca}
AuthMechs SCRAM-SHA-256

IMAPStore far
Account far

MaildirStore near
Path {local}/
Inbox {local}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
Remove Both
Sync All
CopyArrivalDate yes
SyncState {home.dir}/state/
""")
    os.makedirs(home.dir + "/state")

    def sync():
        return home.run("mbsync", "-c", rc, "-a")

    def compare(when):
        far = snapshot.take(home.box, home.user, pop3=False)["folders"]
        near = {}
        for d, dirs, _ in os.walk(local):
            if "cur" in dirs:
                near[os.path.relpath(d, local)] = d
        same(f"{when}: folders", sorted(near), sorted(far))
        for name, d in near.items():
            here = []
            for p in glob.glob(d + "/cur/*") + glob.glob(d + "/new/*"):
                with open(p, "rb") as f:
                    data = f.read()
                head, _, _ = data.partition(b"\n\n")
                lines = b"\n".join(line for line in head.split(b"\n") if not line.startswith(b"X-TUID"))
                flags = p.partition(":2,")[2]
                here.append((email.message_from_bytes(lines + b"\n\n")["Message-ID"], "".join(sorted(flags))))
            there = []
            for flags, _, _, _, message in far[name]["messages"].values():
                letters = {"\\draft": "D", "\\flagged": "F", "\\answered": "R", "\\seen": "S", "\\deleted": "T"}
                there.append((f"<{message}>", "".join(sorted(letters[f] for f in flags if f in letters))))
            same(f"{when}: {name}", sorted(here), sorted(there))

    sync()
    compare("first")
    with raw(home) as i:
        i.command(r"STORE 1 +FLAGS (\Flagged)")
        i.command(r"STORE 2 +FLAGS (\Seen \Answered)")
        i.command("CREATE Far/Off")
        i.command("COPY 3:4 Far/Off")
        i.command(r"STORE 5 +FLAGS (\Deleted)")
        i.command("EXPUNGE")
    for d in ("cur", "new", "tmp"):
        os.makedirs(f"{local}/Near/By/{d}")
    with open(f"{local}/Near/By/cur/1700000001.M1P1.near:2,FS", "wb") as f:
        f.write(unix(letter(50)))
    inbox = sorted(glob.glob(local + "/INBOX/cur/*") + glob.glob(local + "/INBOX/new/*"))
    gone = [p for p in inbox if b"letter6@" in open(p, "rb").read()][0]
    seen = [p for p in inbox if b"letter7@" in open(p, "rb").read()][0]
    os.remove(gone)
    os.rename(seen, f"{local}/INBOX/cur/{os.path.basename(seen).partition(':')[0]}:2,FS")
    sync()
    compare("changes on both sides")
    with raw(home, "Far/Off") as i:
        i.command("MOVE 1 INBOX")
    sync()
    compare("a move")
    before = snapshot.take(home.box, home.user, pop3=False)
    sync()
    same("nothing left to do", snapshot.differences(before, snapshot.take(home.box, home.user, pop3=False)), [])
    with raw(home) as i:
        i.command(r"STORE 1:* +FLAGS (\Deleted)")
        i.command("EXPUNGE")
    sync()
    compare("all expunged")


for extension in extensions.EXTENSIONS:
    client(extension)


def main():
    binary, where, only = sys.argv[1], sys.argv[2], sys.argv[3:]
    mail = os.path.join(where, "mail")
    clients = os.path.join(where, "clients")  # a CA for clients' certificates
    os.makedirs(where, exist_ok=True)
    subprocess.run(["openssl", "req", "-x509", *NEW_KEY, "-subj", "/CN=Clients", "-keyout", clients + ".key", "-out", clients + ".pem"],
                   check=True, capture_output=True)
    box = Letterbox(binary, where, mail, os.path.join(where, "users"), extra=f'[tls]\nclient_ca = "{clients}.pem"\n[users.folders]\nquota = "64KiB"')
    box.clients = clients
    box.user("first")
    box.start()
    for name, f in CLIENTS.items():
        name = name.rstrip("_")
        if only and name not in only:
            continue
        began = time.monotonic()
        try:
            f(Home(box, where, mail, name))
            print(f"ok {name} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception as err:
            print(f"not ok {name}: {err}", flush=True)
            if isinstance(err, subprocess.TimeoutExpired):  # who waits for whom?
                print(f"it had said: {err.stdout!r} {err.stderr!r}")
                box.process.send_signal(signal.SIGQUIT)
                box.process.wait()
                print(tail(box.log, 300), flush=True)
                box.start()
            elif not isinstance(err, AssertionError):
                traceback.print_exc(file=sys.stdout)
    box.stop()
    for t in box.troubles():
        print(f"not ok log: {t}")
    if os.environ.get("SHOWLOG"):
        print(tail(box.log, 200))


if __name__ == "__main__":
    main()
