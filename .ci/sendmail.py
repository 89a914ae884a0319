"""sendmail by users who are not the server's: with the server, without it, as cron and other programs
call it. Needs root, for it becomes them. usage: sendmail.py BINARY WORKDIR"""

import glob
import os
import pwd
import subprocess
import sys
import time

from servers import Letterbox

SERVER, USER = "letterbox-ci", "nobody"


def become(name):
    account = pwd.getpwnam(name)

    def child():
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)

    return child


class Box(Letterbox):
    """A Letterbox that is another user's."""

    def run(self, *arguments, text=None):
        done = subprocess.run([*self.command, *arguments, "-config", self.config], input=text, text=True, capture_output=True,
                              timeout=120, cwd="/", preexec_fn=become(SERVER))
        if done.returncode not in (0, 1) or done.returncode and arguments[0] != "check":
            raise RuntimeError(f"letterbox {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen([*self.command, "serve", "-config", self.config], cwd="/", stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, preexec_fn=become(SERVER))
        self.until("it starts", lambda: open(self.log).read().count("msg=ready") > open(self.log).read().count("msg=stopped"))

    def until(self, what, right):
        end = time.monotonic() + 60
        while not right():
            if time.monotonic() > end or self.process is not None and self.process.poll() is not None:
                raise RuntimeError(f"{what}: no; its log: {open(self.log).read()[-3000:]}")
            time.sleep(0.05)


def check(what, right, said=""):
    print("ok" if right else "not ok", "sendmail:", what, "" if right else said)


def main():
    binary, where = sys.argv[1:]
    if os.getuid() != 0:
        print("ok sendmail: left out, since only root can become others")
        return
    data = os.path.join(where, "data")
    os.makedirs(where, mode=0o755)
    account = pwd.getpwnam(SERVER)
    for directory in (data, os.path.join(where, "spool")):
        os.mkdir(directory, mode=0o700)
        os.chown(directory, account.pw_uid, account.pw_gid)
    spool = os.path.join(where, "spool")
    box = Box(binary, where, os.path.join(data, "mail"), os.path.join(data, "users"))
    text = open(box.config).read().replace("[pop3]", f'spool = "{spool}"\n\n[aliases]\nops = "alice"\n\n[pop3]')
    open(box.config, "w").write(text)
    os.chmod(box.config, 0o644)
    program = os.path.join(where, "sendmail")
    os.symlink(binary, program)
    box.user("alice")

    def send(*arguments, text, user=USER):
        return subprocess.run([program, "-config", box.config, *arguments], input=text, text=True, capture_output=True, timeout=120,
                              cwd="/", env={"PATH": "/usr/bin:/bin"}, preexec_fn=become(user), umask=0o077)

    def mail():
        return sorted((open(path, "rb").read() for path in glob.glob(os.path.join(data, "mail/alice/new/*"))), key=len)

    cron = ["-i", "-FCronDaemon", "-B8BITMIME", "-oem"]
    letter = "From: root (Cron Daemon)\nTo: {}\nSubject: Cron <pi@box> df\n\n/dev/sda1 99%\n.\nthe end\n"

    def three(when):
        done = [send(*cron, "root", text=letter.format("root")), send("-oi", "-t", text=letter.format("Ops <ops@box.test>,\n Alice <alice>")),
                send("-f", "printer@example.org", "--", "alice", text="only a body\n.\nnot this")]
        check(f"{when}, cron's, -t's and a script's mail is taken", all(d.returncode == 0 and d.stdout + d.stderr == "" for d in done), done)
        done = send("someone@example.com", text="x")
        check(f"{when}, mail for others is refused in plain words", done.returncode == 69 and "own users only" in done.stderr, done)

    def have(number, when):
        box.until(f"{when}: {number} messages", lambda: len(mail()) >= number and not glob.glob(os.path.join(spool, "[A-Z2-7]*")))
        check(f"{when}, it arrives once", len(mail()) == number, mail())

    box.start()
    mode = os.stat(spool)
    check("the server makes the spool for all", mode.st_mode & 0o7777 == 0o1733 and mode.st_uid == account.pw_uid, oct(mode.st_mode))
    three("with the server")
    have(4, "with the server")
    done = send("nobody-here", text="x")
    check("with the server, an unknown user is told", done.returncode == 67, done)
    done = send("-bs", text="HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<alice>\r\nQUIT\r\n")
    check("-bs speaks SMTP", done.returncode == 0 and "250 2.1.5" in done.stdout, done)
    box.stop()
    three("without the server")
    files = os.listdir(spool)
    check("it lies in the spool", len(files) == 3, files)
    looks = [subprocess.run(command, capture_output=True, cwd="/", preexec_fn=become(USER)).returncode
             for command in (["ls", spool], ["touch", spool])]
    check("which others cannot list", looks[0] != 0, looks)
    said = box.run("check")
    check("check tells of it", "spool: 3 messages of programs wait" in said, said)
    done = send("-bs", text="QUIT\r\n")
    check("-bs says when the server is away", done.returncode == 75 and done.stdout.startswith("421 "), done)
    box.start()
    have(8, "when the server comes")
    texts = b"\n".join(mail())
    check("the sender is who has called", texts.count(f"Return-Path: <{USER}@box.test>".encode()) == 6, texts)
    check("-f names another", texts.count(b"Return-Path: <printer@example.org>") == 2, texts)
    check("all lines of the message are there", texts.count(b"99%\r\n.\r\nthe end\r\n") == 6 and b"not this" not in texts, texts)
    box.stop()
    for trouble in box.troubles():
        print("not ok sendmail:", trouble)


if __name__ == "__main__":
    main()
