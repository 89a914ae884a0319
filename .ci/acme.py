"""Certificates for public names from Pebble, a CA for tests, in which a DNS for tests leads names here.
usage: acme.py BINARY WORKDIR PEBBLE-DIRECTORY"""

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request

from servers import Letterbox, free_port, tail, wait_for


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class Authority:
    """Pebble and its DNS. It looks at names on the two ports that it is told."""

    def __init__(self, where, programs, http, https):
        self.dir, self.log = where, os.path.join(where, "pebble.log")
        self.port, self.manage, dns, self.names = (free_port() for _ in range(4))
        self.cert, key = os.path.join(where, "localhost.pem"), os.path.join(where, "localhost.key")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", self.cert)
        config = os.path.join(where, "pebble.json")
        with open(config, "w") as f:
            json.dump({"pebble": {
                "listenAddress": f"127.0.0.1:{self.port}", "managementListenAddress": f"127.0.0.1:{self.manage}",
                "certificate": self.cert, "privateKey": key, "httpPort": http, "tlsPort": https, "ocspResponderURL": "",
                "externalAccountBindingRequired": False, "domainBlocklist": ["blocked.example"],
                "retryAfter": {"authz": 1, "order": 1}, "keyAlgorithm": "ecdsa",
                "profiles": {"default": {"description": "", "validityPeriod": 7776000}}}}, f)
        environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_VA_ALWAYS_VALID": "0", "PEBBLE_AUTHZREUSE": "0"}
        with open(self.log, "w") as log:
            self.processes = [
                subprocess.Popen([os.path.join(programs, "pebble-challtestsrv"), "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "",
                                  "-dnsserver", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{self.names}", "-http01", "", "-https01", "",
                                  "-tlsalpn01", "", "-doh", ""], stdout=log, stderr=log),
                subprocess.Popen([os.path.join(programs, "pebble"), "-config", config, "-dnsserver", f"127.0.0.1:{dns}"],
                                 stdout=log, stderr=log, env=environment)]
        self.url = f"https://localhost:{self.port}/dir"
        for port in (self.port, self.names, self.manage):
            until(lambda: connects(port), f"port {port} of Pebble")

    def lead(self, name, address):
        """Leads a name elsewhere."""
        body = json.dumps({"host": name, "addresses": [address]}).encode()
        urllib.request.urlopen(f"http://127.0.0.1:{self.names}/add-a", body, timeout=10).close()

    def root(self):
        context = ssl.create_default_context(cafile=self.cert)
        with urllib.request.urlopen(f"https://localhost:{self.manage}/roots/0", context=context, timeout=10) as answer:
            return answer.read().decode()

    def issued(self):
        with open(self.log) as f:
            return f.read().count("Issued certificate serial")

    def stop(self):
        for p in self.processes:
            p.send_signal(signal.SIGTERM)
            p.wait(20)


def connects(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2):
        return True
    return False


def until(found, what, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        got = found()
        if got:
            return got
        time.sleep(0.2)
    raise RuntimeError(f"in vain waited for {what}")


def shown(port, name, root):
    """The serial number of the certificate for a name, if it is one of the CA's."""
    context = ssl.create_default_context(cadata=root)
    try:
        with socket.create_connection(("127.0.0.1", port), 20) as s, context.wrap_socket(s, server_hostname=name) as t:
            assert t.recv(4) == b"* OK"
            return t.getpeercert()["serialNumber"]
    except ssl.SSLCertVerificationError:
        return None


def session(port, name, root):
    s = ssl.create_default_context(cadata=root).wrap_socket(socket.create_connection(("127.0.0.1", port), 20), server_hostname=name)
    assert s.recv(1000).startswith(b"* OK")
    return s


def other_than(old, new):
    return new if new != old else None


def kept(box):
    return [os.path.join(d, f) for d, _, files in os.walk(os.path.join(box.box.dir, "mail", ".letterbox", "acme")) for f in files]


class Box:
    """A Letterbox that wants certificates for names, and can be reached by the ports that are given."""

    def __init__(self, binary, where, ca, names, http=0, https=0):
        listed = ", ".join(f'"{n}"' for n in names)
        os.makedirs(where)
        os.environ["SSL_CERT_FILE"] = ca.cert  # it is to believe that this is the CA
        self.box = Letterbox(binary, where, os.path.join(where, "mail"), os.path.join(where, "users"),
                             extra=f'[tls]\nacme = [{listed}]\nacme_directory = "{ca.url}"\nacme_email = "alice@example.org"\n')
        with open(self.box.config) as f:
            text = f.read()
        for service, port in (("http", http), ("https", https)):
            if port:  # from no trusted network: the CA comes from anywhere
                text = text.replace(f"\n{service} = []\n", f'\n{service} = ["127.0.0.1:{port}"]\n')
        with open(self.box.config, "w") as f:
            f.write(text + '\n[web]\nnetworks = ["192.0.2.1"]\n')
        self.box.user("alice")
        self.box.start()

    def check(self):
        done = subprocess.run([*self.box.command, "check", "-config", self.box.config], text=True, capture_output=True, timeout=120, cwd=self.box.dir)
        return done.stdout + done.stderr

    def said(self):
        with open(self.box.log) as f:
            return f.read()


def stranger(port, path):
    """What the page says to somebody who is not at home."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as err:
        return err.code


def main():
    binary, where, programs = sys.argv[1:]
    os.makedirs(where)
    http, https = free_port(), free_port()
    ca = Authority(where, programs, http, https)
    boxes = []
    try:
        ca.lead("far.example.org", "127.0.0.9")  # where nobody listens
        root = ca.root()
        for kind, ports, name in (("http-01", {"http": http}, "one.example.org"), ("tls-alpn-01", {"https": https}, "two.example.org")):
            box = Box(binary, os.path.join(where, kind), ca, [name, "far.example.org"], **ports)
            boxes.append(box)
            serial = until(lambda: shown(box.box.imaps, name, root), f"a certificate by {kind}; the log ends: {tail(box.box.log)}")
            print(f"ok a certificate by {kind}, shown by IMAPS")
            until(lambda: "no certificate from the CA" in box.said(), "the failure for far.example.org")
            assert box.said().count("no certificate from the CA") == 1, box.said()
            for other in ("box.test", "localhost", "far.example.org"):
                assert shown(box.box.imaps, other, root) is None, other
            with open(box.box.ca) as f:
                own = f.read()
            assert shown(box.box.imaps, "localhost", own), "localhost has lost its own certificate"
            print(f"ok {kind}: a name that leads elsewhere gets none, and the names at home keep theirs")
            check = box.check()
            assert f"the one for {name} is good until 20" in check and "FINDING there is no certificate for far.example.org" in check, check
            assert "hint: the world must reach far.example.org" in check, check
            print(f"ok {kind}: check tells both")
            if kind == "http-01":
                assert [stranger(http, p) for p in ("/", "/.well-known/acme-challenge/x", "/.well-known/acme-challenge/")] == [403] * 3
                print("ok the page stays closed to strangers")
            issued = ca.issued()
            with until(lambda: session(box.box.imaps, name, root), "a session") as open_session:
                os.remove(next(f for f in kept(box) if f.endswith(f"/{name}.pem")))
                box.box.process.send_signal(signal.SIGHUP)
                serial = until(lambda: other_than(serial, shown(box.box.imaps, name, root)), "a new certificate")
                open_session.sendall(b"a noop\r\n")
                assert b"a OK" in open_session.recv(1000)
            print(f"ok {kind}: a new certificate, and the session under the old one goes on")
            issued += 1
            box.box.stop()
            box.box.start()
            assert shown(box.box.imaps, name, root) == serial
            assert ca.issued() == issued, "a certificate was got twice"
            print(f"ok {kind}: a restart takes the certificate that was kept")
            assert kept(box) and all(os.stat(f).st_mode & 0o777 == 0o600 for f in kept(box)), kept(box)
            box.box.stop()
    except (AssertionError, RuntimeError):
        print(tail(ca.log))
        for box in boxes:
            print(box.said()[-4000:])
        raise
    finally:
        for box in boxes:
            box.box.stop()
        ca.stop()


if __name__ == "__main__":
    main()
