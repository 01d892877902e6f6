# A mail server that keeps nothing: it writes each message to standard output, as a line of JSON.
#   mail.py PORT plain|starttls|smtps FOLDER
# FOLDER has server.pem and server.key. With encryption, only the user `towline` with the password in FOLDER/password may send.
# A recipient nobody@… does not exist, and one later@… has no room.
import asyncio
import json
import ssl
import sys
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP, AuthResult

port, mode, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]


def may_send(server, session, envelope, mechanism, data):
    with open(folder + "/password") as file:
        right = (b"towline", file.read().encode())
    return AuthResult(success=(data.login, data.password) == right, handled=False)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        for name, answer in [("nobody@", "550 5.1.1 no such mailbox"), ("later@", "452 4.2.2 no room")]:
            if address.startswith(name):
                return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = message_from_bytes(envelope.content, policy=policy.default)
        print(json.dumps({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": {name.lower(): str(value) for name, value in message.items()},
            "text": message.get_content(),
            "encrypted": server.transport.get_extra_info("sslcontext") is not None,
            "authenticated": bool(session.authenticated),
            "defects": [str(defect) for defect in message.defects],
        }), flush=True)
        return "250 OK"


def server():
    if mode == "plain":
        return SMTP(Handler(), hostname="localhost")
    # aiosmtpd does not see encryption that was there before it.
    with_starttls = {"tls_context": context, "require_starttls": True, "auth_require_tls": True}
    without = {"auth_require_tls": False}
    return SMTP(
        Handler(), hostname="localhost", authenticator=may_send, auth_required=True,
        **(with_starttls if mode == "starttls" else without),
    )


async def main():
    outer = context if mode == "smtps" else None
    await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, ssl=outer)
    await asyncio.Event().wait()


context = None
if mode != "plain":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder + "/server.pem", folder + "/server.key")
asyncio.run(main())
