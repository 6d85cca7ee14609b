"""A mail server that does as it is told, on a free port of the loopback interface.

    smtp.py MODE [FOLDER]

MODE: plain; starttls and tls, with a login; no-starttls; starttls-502 and starttls-454, which offer it and refuse.
FOLDER: where certificate.pem is written, which the server shows; "plain" needs none.

What it answers is in the local part of the recipient, see ANSWERS. On its standard output it tells what happens, a JSON
object a line, the first of them its port.
"""

import asyncio
import datetime
import email
import email.policy
import ipaddress
import json
import logging
import ssl
import sys
import warnings
from pathlib import Path

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword, syntax
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

# What the server says to the recipient, and to the content.
ANSWERS = {
    "rcpt": {
        "greylisted": "450 4.2.0 <%s> greylisted, try again",
        "closing": "421 4.4.2 closing, bye",
        "unknown": "550 5.1.1 <%s>: no such user",
        "disabled": "550 5.2.1 <%s> is disabled",
        "elsewhere": "551 user not local",
        "policy": "550 5.7.1 not by our policy",
        "bare": "550 no",
        "full": "552 5.2.2 mailbox full",
        "login": "530 5.7.0 authenticate first",
    },
    "data": {
        "later": "451 4.7.1 not now",
        "spam": "554 5.6.0 looks like spam",
        "discovered": "550 5.1.1 no such user after all",
    },
}
# Longer than any test waits.
LONG_SECONDS = 120
USER, PASSWORD = b"madang", b"a courtyard"


def tell(**what):
    print(json.dumps(what), flush=True)


def is_encrypted(server):
    return server.transport.get_extra_info("ssl_object") is not None


def authenticate(server, session, envelope, mechanism, data):
    known = isinstance(data, LoginPassword) and (data.login, data.password) == (USER, PASSWORD)
    tell(event="login", encrypted=is_encrypted(server), known=known)
    return AuthResult(success=known, handled=False, auth_data="madang" if known else None)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        local = address.split("@")[0]
        if local == "slow":
            await asyncio.sleep(LONG_SECONDS)
        answer = ANSWERS["rcpt"].get(local)
        if answer:
            return answer % address if "%s" in answer else answer
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        local = envelope.rcpt_tos[0].split("@")[0]
        answer = ANSWERS["data"].get(local)
        if answer:
            return answer
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        text, html = (message.get_body((kind,)) for kind in ("plain", "html"))
        tell(
            event="mail",
            encrypted=is_encrypted(server),
            user=session.auth_data,
            sender=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            raw=envelope.content.decode("ascii"),
            headers=[[name, str(value)] for name, value in message.items()],
            text=text and text.get_content().replace("\r\n", "\n"),
            html=html and html.get_content(),
        )
        if local == "late":
            await asyncio.sleep(LONG_SECONDS)
        if local == "cut":
            server.transport.abort()
        return "250 2.0.0 Ok: queued as 4Fz7Qp1kJ2"


class Server(SMTP):
    starttls_answer = None

    def connection_made(self, transport):
        # The change to TLS makes the same connection a second time.
        if self.transport is None:
            tell(event="connection")
        super().connection_made(transport)

    @syntax("STARTTLS")
    async def smtp_STARTTLS(self, arg):
        if self.starttls_answer:
            await self.push(self.starttls_answer)
        else:
            await super().smtp_STARTTLS(arg)


def certificate(folder):
    """A certificate that signs itself, for this machine."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "certificate.pem").write_bytes(made.public_bytes(encoding))
    (folder / "key.pem").write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


async def serve(mode, folder):
    context = certificate(folder) if folder else None
    options = {"hostname": "mail.example.com", "ident": "scripted"}
    if mode in ("starttls", "tls"):
        options |= {"authenticator": authenticate, "auth_required": True}
    if mode == "tls":
        options |= {"auth_require_tls": False}
    if mode.startswith("starttls"):
        options |= {"tls_context": context, "require_starttls": True}
    if mode.startswith("starttls-"):
        Server.starttls_answer = mode.removeprefix("starttls-") + " 5.7.0 not today"

    loop = asyncio.get_running_loop()
    wrapped = context if mode == "tls" else None
    server = await loop.create_server(lambda: Server(Handler(), **options), "127.0.0.1", 0, ssl=wrapped)
    tell(event="port", port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


# It is told to take passwords in the clear, and says that one should not.
logging.disable(logging.WARNING)
warnings.simplefilter("ignore")
asyncio.run(serve(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None))
