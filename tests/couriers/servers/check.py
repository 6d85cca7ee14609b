"""What independent libraries make of what couriers send: reads a JSON object, and writes one.

    check.py webhook | push | assertion | dkim | dkim-key | rsa-key
"""

import base64
import json
import sys

import dkim
import http_ece
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from standardwebhooks import Webhook, WebhookVerificationError


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encoded(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def parts(token):
    header, claims, signature = token.split(".")
    return json.loads(decoded(header)), json.loads(decoded(claims)), decoded(signature), f"{header}.{claims}".encode()


def webhook(given):
    """Whether the standard's own library believes the signature."""
    try:
        Webhook(given["key"]).verify(given["body"], given["headers"])
        return {"believed": True}
    except WebhookVerificationError as error:
        return {"believed": False, "error": str(error)}


def push(given):
    """Makes a browser's keys, or, with them, decrypts a message and verifies who sent it."""
    if "body" not in given:
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        return {"private": format(key.private_numbers().private_value, "x"), "p256dh": encoded(public)}

    scheme, values = given["authorization"].split(" ", 1)
    values = dict(value.strip().split("=", 1) for value in values.split(","))
    header, claims, signature, signed = parts(values["t"])
    sender = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decoded(values["k"]))
    half = len(signature) // 2
    r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
    sender.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))

    body = base64.b64decode(given["body"])
    browser = ec.derive_private_key(int(given["private"], 16), ec.SECP256R1())
    plaintext = http_ece.decrypt(body, private_key=browser, auth_secret=decoded(given["auth"]), version="aes128gcm")
    return {
        "scheme": scheme,
        "header": header,
        "claims": claims,
        "key": values["k"],
        "plaintext": plaintext.decode(),
        "record_bytes": int.from_bytes(body[16:20], "big"),
    }


def assertion(given):
    """The claims of a token that an RSA key has signed."""
    header, claims, signature, signed = parts(given["token"])
    key = serialization.load_pem_public_key(given["public"].encode())
    key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    return {"header": header, "claims": claims}


def rsa_key(_):
    key = rsa.generate_private_key(65537, 2048)
    return {"private": private_pem(key), "public": public_pem(key)}


def dkim_key(given):
    """A key, and what its owner writes into the DNS."""
    if given["algorithm"] == "rsa":
        key = rsa.generate_private_key(65537, 2048)
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    else:
        key = ed25519.Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    record = f"v=DKIM1; k={given['algorithm']}; p={base64.b64encode(public).decode()}"
    return {"private": private_pem(key), "record": record}


def dkim_(given):
    """Whether a mail is signed by whoever wrote the record."""
    records = {given["name"].encode() + b".": given["record"].encode()}
    message = given["message"].encode()
    believed = dkim.verify(message, dnsfunc=lambda name, timeout=5: records.get(name))
    return {"believed": believed}


def private_pem(key):
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain).decode()


def public_pem(key):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


CHECKS = {
    "webhook": webhook,
    "push": push,
    "assertion": assertion,
    "dkim": dkim_,
    "dkim-key": dkim_key,
    "rsa-key": rsa_key,
}

try:
    print(json.dumps(CHECKS[sys.argv[1]](json.load(sys.stdin))))
except InvalidSignature:
    sys.exit("the signature is not that of the key")
