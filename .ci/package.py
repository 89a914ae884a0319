"""The .deb: installs, runs as its unit would have it, upgrades, purges. Needs root; makes and removes
the account letterbox, /etc/letterbox and /var/lib/letterbox, and stops if one of them is there before."""

import contextlib
import imaplib
import os
import pathlib
import pwd
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time

CONFIG = pathlib.Path("/etc/letterbox/config.toml")
STATE = pathlib.Path("/var/lib/letterbox")
SPOOL = pathlib.Path("/var/spool/letterbox")
SENDMAIL = "/usr/sbin/sendmail"
UNIT = "/usr/lib/systemd/system/letterbox.service"
PROGRAM = "/usr/bin/letterbox"
PASSWORD = "correct horse"


def run(*command, text=None):
    done = subprocess.run(command, input=text, text=True, capture_output=True, timeout=300, cwd="/")
    print("$", " ".join(command))
    print(done.stdout + done.stderr, end="")
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}")
    return done.stdout


def check(what, right):
    print("ok" if right else "not ok", "package:", what)
    return right


def as_letterbox(*command, capabilities=False):
    """A command as the unit would run it."""
    privilege = ["--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service", "--bounding-set=-all,+net_bind_service"]
    return ["setpriv", "--reuid", "letterbox", "--regid", "letterbox", "--init-groups", "--no-new-privs",
            *(privilege if capabilities else []), *command]


class Manager:
    """What systemd is to a service of the type notify."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o777)
        self.socket.settimeout(30)

    def hear(self, *states):
        """Waits for these states, each in its turn; signs of life may come between."""
        for state in states:
            while (said := self.socket.recv(200).decode()) != state:
                if said != "WATCHDOG=1":
                    raise RuntimeError(f"it says {said}, not {state}")


@contextlib.contextmanager
def running(manager, command):
    env = {**os.environ, "NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "1000000", "HOME": str(STATE)}
    process = subprocess.Popen(command, env=env, cwd=STATE, stdin=subprocess.DEVNULL)
    try:
        manager.hear("READY=1")
        yield process
        process.send_signal(signal.SIGTERM)
        manager.hear("STOPPING=1")
        if process.wait(15) != 0:
            raise RuntimeError(f"the server ended with status {process.returncode}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def deliver(number):
    with smtplib.SMTP("127.0.0.1", 25, timeout=30) as smtp:
        smtp.sendmail("printer@house", ["alice"], f"Subject: number {number}\r\n\r\nA page.\r\n")


def subjects():
    tls = ssl.create_default_context(cafile=str(STATE / "mail/.letterbox/ca.pem"))
    with imaplib.IMAP4_SSL("localhost", 993, ssl_context=tls, timeout=30) as imap:
        imap.login("alice", PASSWORD)
        imap.select("INBOX", readonly=True)
        _, data = imap.fetch("1:*", "(BODY[HEADER.FIELDS (SUBJECT)])")
        return [part[1].decode().strip() for part in data if isinstance(part, tuple)]


def security():
    said = run("systemd-analyze", "security", "--offline=true", UNIT)
    return float(re.search(r"Overall exposure level.*: ([0-9.]+)", said)[1])


def main():
    first, second, scratch = map(os.path.abspath, sys.argv[1:])
    if os.getuid() != 0 or CONFIG.parent.exists() or STATE.exists():
        raise RuntimeError("this needs root, and neither /etc/letterbox nor /var/lib/letterbox")
    run("dpkg", "-i", first)
    check("the program has the package's version", run(PROGRAM, "version").startswith("letterbox 1.0 "))
    account = pwd.getpwnam("letterbox")
    state = STATE.stat()
    check("the account and its directory are there", state.st_uid == account.pw_uid and state.st_mode & 0o777 == 0o700)
    spool = SPOOL.stat()
    check("all may leave mail in the spool", spool.st_uid == account.pw_uid and spool.st_mode & 0o7777 == 0o1733)
    check("systemd takes the unit as it is", run("systemd-analyze", "verify", UNIT) == "")
    check("the unit's exposure is below 2.0", security() < 2.0)
    check("dpkg has nothing to ask about at an upgrade", run("dpkg-query", "-W", "-f=${Conffiles}", "letterbox") == "" and CONFIG.stat().st_mode & 0o777 == 0o644)
    run(PROGRAM, "setup", "-hostname", "pantry", "-admins", "carol", "-add", "carol")
    check("setup by root changes it", 'hostname = "pantry"' in CONFIG.read_text() and 'admins = ["carol"]' in CONFIG.read_text())
    check("the configuration has no findings", "configuration:" in subprocess.run(as_letterbox(PROGRAM, "check"), text=True, capture_output=True, cwd="/").stdout)
    listen = re.sub(r'":(\d+)"', r'"127.0.0.1:\1"', CONFIG.read_text()).replace('hostname = "pantry"', 'hostname = "localhost"')
    CONFIG.write_text(listen)
    serve = as_letterbox(PROGRAM, "serve", "-config", str(CONFIG), capabilities=True)
    manager = Manager(scratch)
    run(*as_letterbox(PROGRAM, "user", "add", "alice"), text=PASSWORD + "\n")
    with running(manager, serve) as process:
        manager.socket.settimeout(5)
        check("it gives signs of life", manager.socket.recv(200) == b"WATCHDOG=1")
        manager.socket.settimeout(30)
        deliver(1)
        check("mail comes in on port 25 and is read on port 993", subjects() == ["Subject: number 1"])
        process.send_signal(signal.SIGHUP)
        manager.hear("RELOADING=1", "READY=1")
        run("dpkg", "-i", second)
        deliver(2)
        check("an upgrade lets the server run that is running", len(subjects()) == 2)
    check("an upgrade brings the new program", run(PROGRAM, "version").startswith("letterbox 1.1 "))
    check("an upgrade keeps the configuration", CONFIG.read_text() == listen)
    with running(manager, serve):
        check("the mail is there after the upgrade", len(subjects()) == 2)
    with running(manager, [PROGRAM, "serve", "-config", str(CONFIG)]) as process:  # root's
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        uids = re.search(r"^Uid:\s+(.*)$", status, re.M)[1].split()
        check("started by root, it becomes letterbox", set(uids) == {str(account.pw_uid)})
        check("and has no capability left", int(re.search(r"^CapEff:\s+(\w+)$", status, re.M)[1], 16) == 0)
        deliver(3)
        check("and takes and gives mail", len(subjects()) == 3)
    owners = {path.stat().st_uid for path in STATE.rglob("*")}
    check("all that is below /var/lib/letterbox is letterbox's", owners == {account.pw_uid})
    ours = os.path.islink(SENDMAIL) and os.readlink(SENDMAIL) == "../bin/letterbox"
    if ours:
        run("setpriv", "--reuid", "nobody", "--clear-groups", SENDMAIL, "-i", "alice", text="Subject: number 4\n\nx\n")
        check("called as sendmail by anybody, it leaves mail for the server", len(list(SPOOL.iterdir())) == 1)
        with running(manager, serve):
            for _ in range(600):
                if len(subjects()) == 4:
                    break
                time.sleep(0.1)
            check("which takes it when it comes", len(subjects()) == 4 and not list(SPOOL.iterdir()))
    run("dpkg", "-r", "letterbox")
    check("removing it removes its sendmail", not (ours and os.path.lexists(SENDMAIL)))
    check("removing it keeps the configuration", CONFIG.exists() and not os.path.exists(PROGRAM))
    run("dpkg", "-P", "letterbox")
    check("purging it removes the configuration and keeps the mail", not CONFIG.parent.exists() and len(list(STATE.glob("mail/alice/[cn]*/*"))) == (4 if ours else 3) and not SPOOL.exists())


def clean():
    shutil.rmtree(STATE, ignore_errors=True)
    shutil.rmtree(CONFIG.parent, ignore_errors=True)
    shutil.rmtree(SPOOL, ignore_errors=True)
    subprocess.run(["dpkg", "-P", "letterbox"], capture_output=True)
    subprocess.run(["userdel", "letterbox"], capture_output=True)


if __name__ == "__main__":
    before = CONFIG.parent.exists() or STATE.exists()
    try:
        main()
    finally:
        if not before:
            clean()
