"""Is a box found by itself? It lives in one network namespace, and python3-zeroconf asks from another."""

import contextlib
import os
import signal
import subprocess
import sys
import time

BOX, PHONE = "lb-ci-box", "lb-ci-phone"
SERVICES = {"_imaps._tcp": 2993, "_imap._tcp": 2143, "_pop3s._tcp": 2995, "_submissions._tcp": 2465, "_submission._tcp": 2587, "_https._tcp": 2443}

# What the phone does: it prints what it finds within some seconds.
ASK = """
import sys, threading, time
import zeroconf
def say(*words): # from many threads
    sys.stdout.write(" ".join(words) + "\\n")
    sys.stdout.flush()
class Listener(zeroconf.ServiceListener):
    def add_service(self, zc, kind, name):
        info = zc.get_service_info(kind, name, 5000)
        if info:
            addresses = sorted(info.parsed_addresses(zeroconf.IPVersion.V4Only))
            say("found", name, info.server, str(info.port), *addresses)
    def remove_service(self, zc, kind, name):
        say("gone", name)
    def update_service(self, zc, kind, name):
        pass
zc = zeroconf.Zeroconf(interfaces=["10.77.0.2"])
for kind in sys.argv[1].split(","):
    zeroconf.ServiceBrowser(zc, kind + ".local.", Listener())
sys.stdin.read()
zc.close()
"""


def ip(*arguments, check=True):
    subprocess.run(["ip", *arguments], check=check, capture_output=not check)


def check(what, right):
    print("ok" if right else "not ok", "mdns:", what)


@contextlib.contextmanager
def network():
    for namespace in (BOX, PHONE):
        ip("netns", "del", namespace, check=False)
        ip("netns", "add", namespace)
    try:
        ip("link", "add", "lb-a", "netns", BOX, "type", "veth", "peer", "name", "lb-b", "netns", PHONE)
        for namespace, link, address in ((BOX, "lb-a", "10.77.0.1/24"), (PHONE, "lb-b", "10.77.0.2/24")):
            ip("-n", namespace, "address", "add", address, "dev", link)
            ip("-n", namespace, "link", "set", link, "up")
            ip("-n", namespace, "link", "set", "lo", "up")
            ip("-n", namespace, "route", "add", "default", "dev", link)
        yield
    finally:
        for namespace in (BOX, PHONE):
            ip("netns", "del", namespace, check=False)


@contextlib.contextmanager
def letterbox(binary, directory, namespace, hostname):
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "config.toml"), "w") as f:
        f.write(f'hostname = "{hostname}"\n')
    log = open(os.path.join(directory, "log"), "a+")
    process = subprocess.Popen(["ip", "netns", "exec", namespace, binary], cwd=directory, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        if process.wait(20) != 0:
            print("not ok mdns: letterbox ended with status", process.returncode)
        log.close()


class Phone:
    def __enter__(self):
        self.process = subprocess.Popen(["ip", "netns", "exec", PHONE, "/usr/bin/python3", "-c", ASK, ",".join(SERVICES)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.lines, self.rest = [], ""
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()

    def hears(self, lines, seconds=20):
        """Waits until all of these were printed, in any order, and forgets them."""
        end = time.monotonic() + seconds
        while not all(line in self.lines for line in lines) and time.monotonic() < end:
            with contextlib.suppress(BlockingIOError):
                self.rest += os.read(self.process.stdout.fileno(), 1 << 16).decode()
            *whole, self.rest = self.rest.split("\n")
            self.lines += whole
            time.sleep(0.05)
        if not all(line in self.lines for line in lines):
            print("heard", self.lines, "and not", [line for line in lines if line not in self.lines])
            return False
        self.lines = [line for line in self.lines if line not in lines]
        return True


def main():
    binary, scratch = os.path.abspath(sys.argv[1]), os.path.join(sys.argv[2], "mdns")
    names = {kind: f"Letterbox on larder.{kind}.local." for kind in SERVICES}
    found = [f"found {names[kind]} larder.local. {port} 10.77.0.1" for kind, port in SERVICES.items()]
    gone = [f"gone {name}" for name in names.values()]
    with network(), Phone() as phone:
        with letterbox(binary, scratch + "/box", BOX, "larder"):
            check("all services are found, with name, port and address", phone.hears(found))
            with letterbox(binary, scratch + "/other", PHONE, "larder") as log:
                end = time.monotonic() + 20
                said = ""
                while "another box at home has this name" not in said and time.monotonic() < end:
                    log.seek(0)
                    said = log.read()
                    time.sleep(0.1)
                check("a second box of the same name keeps silent and says so", "address=10.77.0.1" in said)
        check("what is switched off is taken back", phone.hears(gone))
        with letterbox(binary, scratch + "/box", BOX, "larder"):
            check("it is found again", phone.hears(found))


if __name__ == "__main__":
    main()
