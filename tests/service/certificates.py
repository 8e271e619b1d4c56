# SPDX-License-Identifier: Apache-2.0
"""Certificates for the tests, made anew each time."""
import datetime
import ipaddress
import socket

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def sign(name, issuer, issuer_key, extension):
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.utcnow()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(extension, critical=False).sign(issuer_key or key, hashes.SHA256()))
    return certificate, key


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def authority():
    """(PEM, certificate, key) of a root of our own."""
    certificate, key = sign("Test root", None, None, x509.BasicConstraints(True, None))
    return pem(certificate), certificate, key


def server(name):
    """PEM texts: a root, a certificate that it signed for that name or address, and its key."""
    text, root, root_key = authority()
    try:
        names = [x509.IPAddress(ipaddress.ip_address(name))]
    except ValueError:
        names = [x509.DNSName(name)]
    certificate, key = sign(name, root.subject, root_key, x509.SubjectAlternativeName(names))
    return text, pem(certificate), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption()).decode()
