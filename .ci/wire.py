"""Plain clients for the checks: they keep the bytes of answers as they came, which the
libraries of Python do not."""

import re
import socket


class Refused(Exception):
    """The server said NO, BAD, -ERR or 4xx, 5xx."""


class Gone(Exception):
    """The connection broke: the server was killed, perhaps."""


class Lines:
    def __init__(self, port, timeout=60):
        try:
            self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        except OSError as err:
            raise Gone(str(err)) from err
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", 1 << 16)

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError as err:
            raise Gone(str(err)) from err

    def line(self):
        try:
            line = self.file.readline()
        except socket.timeout as err:
            raise RuntimeError("no answer within the time") from err
        except OSError as err:
            raise Gone(str(err)) from err
        if not line.endswith(b"\n"):
            raise Gone("closed by the server")
        return line.rstrip(b"\r\n")

    def read(self, n):
        try:
            data = self.file.read(n)
        except OSError as err:
            raise Gone(str(err)) from err
        if len(data) != n:
            raise Gone("closed by the server")
        return data

    def close(self):
        self.file.close()
        self.socket.close()


LITERAL = re.compile(rb"~?\{(\d+)\}$")


class Imap(Lines):
    """An answer is bytes with literals put in as {n}CRLF and their n bytes."""

    def __init__(self, port, user="alice", password="secret", timeout=150):
        super().__init__(port, timeout)
        self.greeting = self.answer()
        self.tag = 0
        self.command(f"LOGIN {user} {password}")

    def answer(self):
        whole = b""
        while True:
            line = self.line()
            whole += line
            m = LITERAL.search(line)
            if not m:
                return whole
            whole += b"\r\n" + self.read(int(m[1]))

    def command(self, text, *literals):
        """Sends a command; {} in text stands for the next literal. Gives the untagged
        answers and the text of OK."""
        if isinstance(text, str):
            text = text.encode()
        self.tag += 1
        tag = b"t%d" % self.tag
        parts = text.split(b"{}")
        line, untagged = tag + b" " + parts[0], []
        for literal, rest in zip(literals, parts[1:]):
            self.send(line + b"{%d}\r\n" % len(literal))
            while not (a := self.answer()).startswith(b"+"):
                if a.startswith(tag):
                    raise Refused(a[len(tag) + 1:].decode("utf-8", "replace"))
                untagged.append(a)
            line = literal + rest
        self.send(line + b"\r\n")
        while not (a := self.answer()).startswith(tag + b" "):
            untagged.append(a)
        done = a[len(tag) + 1:]
        if not done.startswith(b"OK"):
            raise Refused(done.decode("utf-8", "replace"))
        return untagged, done

    def logout(self):
        self.command("LOGOUT")
        self.close()


class Pop3(Lines):
    def __init__(self, port, user="alice", password="secret", timeout=150):
        super().__init__(port, timeout)
        self.expect(self.line())
        self.command(f"USER {user}")
        self.command(f"PASS {password}")

    def expect(self, line):
        if not line.startswith(b"+OK"):
            raise Refused(line.decode())
        return line

    def command(self, text):
        self.send(text.encode() + b"\r\n")
        return self.expect(self.line())

    def lines(self, text):
        self.command(text)
        got = []
        while (line := self.line()) != b".":
            got.append(line[1:] if line.startswith(b".") else line)
        return got

    def quit(self):
        self.command("QUIT")
        self.close()


class Smtp(Lines):
    """SMTP, or LMTP where lmtp is set (one answer for each recipient)."""

    def __init__(self, port, lmtp=False, timeout=150):
        super().__init__(port, timeout)
        self.lmtp = lmtp
        self.answer()
        self.command("LHLO ci.test" if lmtp else "EHLO ci.test")

    def answer(self):
        text = b""
        while True:
            line = self.line()
            text += line
            if line[3:4] != b"-":
                break
            text += b"\n"
        if text[:1] not in b"23":
            raise Refused(text.decode("utf-8", "replace"))
        return text.decode("utf-8", "replace")

    def command(self, text):
        self.send(text.encode() + b"\r\n")
        return self.answer()

    def deliver(self, sender, recipients, message):
        self.command(f"MAIL FROM:<{sender}>")
        for r in recipients:
            self.command(f"RCPT TO:<{r}>")
        self.command("DATA")
        body = re.sub(rb"(?m)^\.", b"..", message)
        if not body.endswith(b"\r\n"):
            body += b"\r\n"
        self.send(body + b".\r\n")
        return [self.answer() for _ in (recipients if self.lmtp else [1])]

    def quit(self):
        self.command("QUIT")
        self.close()
