"""A self-signed certificate for 127.0.0.1, made new for each cluster: no key lies in the repository.

The curve is NIST P-256 (FIPS 186-4 D.1.2.3), the signature ECDSA with SHA-256 (FIPS 186-4 6.4), the form X.509 v3
(RFC 5280) in DER. Slow and not constant in time, which a test's throw-away key doesn't need.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import ssl
from pathlib import Path

_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)

type Point = tuple[int, int] | None


def _add(a: Point, b: Point) -> Point:
    if a is None or b is None:
        return a or b
    if a[0] == b[0] and (a[1] + b[1]) % _P == 0:
        return None
    if a == b:
        # The curve's coefficient a is -3.
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, _P) % _P
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, _P) % _P
    x = (slope * slope - a[0] - b[0]) % _P
    return x, (slope * (a[0] - x) - a[1]) % _P


def _times(factor: int, point: Point) -> tuple[int, int]:
    total: Point = None
    while factor:
        if factor & 1:
            total = _add(total, point)
        point, factor = _add(point, point), factor >> 1
    assert total is not None
    return total


def _der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    if len(body) < 128:
        return bytes((tag, len(body))) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8)
    return bytes((tag, 128 | len(size))) + size + body


def _sequence(*parts: bytes) -> bytes:
    return _der(0x30, *parts)


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1))


def _bits(data: bytes, unused: int = 0) -> bytes:
    return _der(0x03, bytes((unused,)), data)


def _oid(text: str) -> bytes:
    first, second, *rest = (int(part) for part in text.split("."))
    body = bytes((first * 40 + second,))
    for number in rest:
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(number & 0x7F | 0x80)
        body += bytes(reversed(groups))
    return _der(0x06, body)


_CURVE = _oid("1.2.840.10045.3.1.7")
_SIGNATURE = _sequence(_oid("1.2.840.10045.4.3.2"))


def _name(text: str) -> bytes:
    return _sequence(_der(0x31, _sequence(_oid("2.5.4.3"), _der(0x0C, text.encode()))))


def _extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    return _sequence(_oid(oid), _der(0x01, b"\xff") if critical else b"", _der(0x04, value))


def _extensions(public: bytes) -> bytes:
    names = _sequence(_der(0x82, b"localhost"), _der(0x87, bytes((127, 0, 0, 1))))
    return _sequence(
        _extension("2.5.29.19", _sequence(_der(0x01, b"\xff")), critical=True),
        # digitalSignature and keyCertSign.
        _extension("2.5.29.15", _bits(b"\x84", 2), critical=True),
        _extension("2.5.29.14", _der(0x04, hashlib.sha1(public).digest())),
        _extension("2.5.29.17", names),
    )


def _signed(body: bytes, private: int) -> bytes:
    digest = int.from_bytes(hashlib.sha256(body).digest())
    nonce = secrets.randbelow(_N - 1) + 1
    r = _times(nonce, _G)[0] % _N
    s = pow(nonce, -1, _N) * (digest + r * private) % _N
    return _sequence(_integer(r), _integer(s))


def _pem(label: str, body: bytes) -> str:
    text = base64.encodebytes(body).decode()
    return f"-----BEGIN {label}-----\n{text}-----END {label}-----\n"


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write `ca.crt` (which is the server's own certificate) and `server.key`; returns their paths."""
    private = secrets.randbelow(_N - 1) + 1
    x, y = _times(private, _G)
    public = b"\x04" + x.to_bytes(32) + y.to_bytes(32)
    key_info = _sequence(_sequence(_oid("1.2.840.10045.2.1"), _CURVE), _bits(public))
    validity = _sequence(_der(0x18, b"20200101000000Z"), _der(0x18, b"20991231235959Z"))
    name = _name("fake-kubernetes")
    version, serial = _der(0xA0, _integer(2)), _integer(secrets.randbits(120) | 1)
    body = _sequence(version, serial, _SIGNATURE, name, validity, name, key_info, _der(0xA3, _extensions(public)))
    certificate = _sequence(body, _SIGNATURE, _bits(_signed(body, private)))
    key = _sequence(_integer(1), _der(0x04, private.to_bytes(32)), _der(0xA0, _CURVE), _der(0xA1, _bits(public)))
    paths = folder / "ca.crt", folder / "server.key"
    paths[0].write_text(_pem("CERTIFICATE", certificate))
    paths[1].write_text(_pem("EC PRIVATE KEY", key))
    return paths


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
