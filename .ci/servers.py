"""Starts and stops the servers that the checks talk to: Letterbox, and Dovecot 2.3 on
the same mail. Each has a directory of its own below a scratch directory, free ports on
127.0.0.1, and belongs to whoever runs this (not root: Dovecot refuses root's mail)."""

import contextlib
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time

PASSWORD = "secret"


def free_port(taken=set()):
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        if port not in taken:
            taken.add(port)
            return port


def wait_for(port, process=None, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            with socket.create_connection(("127.0.0.1", port), 2) as s:
                s.settimeout(10)
                if s.recv(1):
                    return
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}")
        time.sleep(0.05)
    raise RuntimeError(f"nobody answers on port {port}")


class Letterbox:
    """One Letterbox. emulator is a program that runs the binary, such as qemu-arm-static."""

    def __init__(self, binary, directory, mail, users, extra="", pop3="", emulator=()):
        self.name = "letterbox"
        self.command = [*emulator, binary]
        self.dir, self.process = directory, None
        os.makedirs(directory, exist_ok=True)
        self.smtp, self.lmtp, self.submission, self.submissions = (free_port() for _ in range(4))
        self.imap, self.imaps, self.pop3, self.pop3s = (free_port() for _ in range(4))
        self.ca = os.path.join(mail, ".letterbox", "ca.pem")
        self.config = os.path.join(directory, "config.toml")
        self.log = os.path.join(directory, "log")
        with open(self.config, "w") as f:
            f.write(f"""
hostname = "box.test"
domains = ["box.test"]

[listen]
smtp = ["127.0.0.1:{self.smtp}"]
lmtp = ["127.0.0.1:{self.lmtp}"]
submission = ["127.0.0.1:{self.submission}"]
submissions = ["127.0.0.1:{self.submissions}"]
imap = ["127.0.0.1:{self.imap}"]
imaps = ["127.0.0.1:{self.imaps}"]
http = []
https = []
pop3 = ["127.0.0.1:{self.pop3}"]
pop3s = ["127.0.0.1:{self.pop3s}"]

[storage]
path = "{mail}"
users = "{users}"

[pop3]
{pop3}

[limits]
connections_per_address = 1000

{extra}
""")

    def run_plain(self, *arguments):
        return subprocess.run([*self.command, *arguments], text=True, capture_output=True, timeout=120, check=True).stdout

    def run(self, *arguments, text=None):
        done = subprocess.run([*self.command, *arguments, "-config", self.config], input=text, text=True,
                              capture_output=True, timeout=120, cwd=self.dir)
        if done.returncode != 0:
            raise RuntimeError(f"letterbox {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def user(self, name):
        self.run("user", "add", name, text=PASSWORD + "\n")

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen([*self.command, "serve", "-config", self.config], cwd=self.dir,
                                            stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        for port in (self.smtp, self.lmtp, self.submission, self.imap, self.pop3):
            try:
                wait_for(port, self.process)
            except RuntimeError as err:
                raise RuntimeError(f"{err}; its log ends: {tail(self.log)}") from err
        return self

    def stop(self):
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(15)  # it has 10 s to leave
        self.process = None
        if status != 0:
            raise RuntimeError(f"letterbox ended with status {status}: {tail(self.log)}")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def troubles(self):
        """What a log must not have in it."""
        with open(self.log, errors="replace") as f:
            return [line.strip() for line in f if any(w in line for w in ("panic", "fatal error", "DATA RACE", "goroutine "))]


class Dovecot:
    """One Dovecot of this user's, on mail/<user>."""

    def __init__(self, directory, mail, users=("alice", "bob"), extra=""):
        self.name = "dovecot"
        self.dir = directory
        self.log = os.path.join(directory, "log")
        os.makedirs(directory, exist_ok=True)
        if len(directory) > 72:
            raise RuntimeError(f"{directory} is too long for unix sockets")
        self.imap, self.pop3, self.lmtp = free_port(), free_port(), free_port()
        me = pwd.getpwuid(os.getuid()).pw_name
        group = grp.getgrgid(os.getgid()).gr_name
        with open(os.path.join(directory, "passwd"), "w") as f:
            for user in users:
                f.write(f"{user}:{{PLAIN}}{PASSWORD}\n")
        self.config = os.path.join(directory, "dovecot.conf")
        with open(self.config, "w") as f:
            f.write(f"""
base_dir = {directory}/run
state_dir = {directory}/state
instance_name = ci
listen = 127.0.0.1
protocols = imap pop3 lmtp
ssl = no
disable_plaintext_auth = no
auth_username_format = %Ln
log_path = {self.log}
mail_location = maildir:{mail}/%u
mail_uid = {me}
mail_gid = {group}
first_valid_uid = 1
first_valid_gid = 1
mail_max_userip_connections = 1000
default_vsz_limit = 2048 M
default_internal_user = {me}
default_internal_group = {group}
default_login_user = {me}
passdb {{
  driver = passwd-file
  args = {directory}/passwd
}}
userdb {{
  driver = static
  args = uid={me} gid={group} home={directory}/home/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {self.imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {self.pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {self.lmtp}
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service imap-urlauth-login {{
  chroot =
}}
protocol pop3 {{
  pop3_deleted_flag = "$POP3Deleted"
}}
protocol lmtp {{
  postmaster_address = postmaster@box.test
}}
{extra}
""")
        self.process = None

    def start(self):
        path = os.environ["PATH"] + ":/usr/sbin"
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(["dovecot", "-F", "-c", self.config], env={**os.environ, "PATH": path},
                                            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        for port in (self.imap, self.pop3, self.lmtp):
            try:
                wait_for(port, self.process)
            except RuntimeError as err:
                raise RuntimeError(f"{err}; its log ends: {tail(self.log)}") from err
        return self

    def stop(self):
        if self.process is None:
            return
        self.process.terminate()
        self.process.wait(30)
        self.process = None

    def kill(self):
        """SIGKILL to the master and all its children, which are in its session."""
        self.process.kill()
        self.process.wait()
        while pids := self.pids():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        shutil.rmtree(os.path.join(self.dir, "run"))  # its sockets: it would not start
        self.process = None

    def pids(self):
        pids = []
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError, ValueError):
                with open(f"/proc/{int(name)}/stat") as f:
                    state = f.read().rpartition(")")[2].split()
                if int(state[3]) == self.process.pid and state[0] != "Z":  # the session
                    pids.append(int(name))
        return sorted(pids)

    def troubles(self):
        with open(self.log, errors="replace") as f:
            return [line.strip() for line in f if "Panic" in line or "Fatal" in line]


def tail(path, lines=15):
    try:
        with open(path, errors="replace") as f:
            return "".join(f.readlines()[-lines:])
    except OSError as err:
        return str(err)
