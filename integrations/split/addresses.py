"""Where a cloud is: host and port or a Unix socket, in the clear or under TLS."""

from __future__ import annotations

import argparse
import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Address:
    """A Unix socket's path, or a host and its port.

    >>> Address.of("unix:/run/split.sock"), Address.of("[::1]:7010")
    (Address(path='/run/split.sock', host='', port=0), Address(path='', host='::1', port=7010))
    """

    path: str = ""
    host: str = ""
    port: int = 0

    @classmethod
    def of(cls, text: str) -> Address:
        kind, _, path = text.partition(":")
        if kind == "unix" and path:
            return cls(path=path)
        host, _, port = text.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65_535:
            raise ValueError(f"{text!r} is no address; give HOST:PORT or unix:PATH")
        return cls(host=host.strip("[]"), port=int(port))

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"


async def connect(address: Address, tls: ssl.SSLContext | None = None) -> tuple:
    """Reader and writer of a new connection."""
    if address.path:
        return await asyncio.open_unix_connection(address.path, ssl=tls, server_hostname="localhost" if tls else None)
    return await asyncio.open_connection(address.host, address.port, ssl=tls)


async def listen(address: Address, serve: Serve, tls: ssl.SSLContext | None = None) -> asyncio.Server:
    """A server at the address; port 0 takes a free one."""
    if address.path:
        return await asyncio.start_unix_server(serve, address.path, ssl=tls)
    return await asyncio.start_server(serve, address.host, address.port, ssl=tls)


def bound(server: asyncio.Server, address: Address) -> Address:
    """The address with the port that was found."""
    return address if address.path else Address(host=address.host, port=server.sockets[0].getsockname()[1])


def forget(address: Address) -> None:
    """Remove the socket's file, which some releases of Python leave behind."""
    if address.path:
        Path(address.path).unlink(missing_ok=True)


async def closed(writer: asyncio.StreamWriter, *, within_s: float = 0) -> None:
    """The connection is gone when this returns; what is still to be sent has `within_s` to go."""
    if within_s:
        writer.close()
        with suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), within_s)
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


def tls_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cert", metavar="PEM", help="certificate of this side, with --key")
    parser.add_argument("--key", metavar="PEM", help="its private key")
    parser.add_argument("--ca", metavar="PEM", help="certificates that the other side's must come from")


def server_tls(cert: str | None, key: str | None, ca: str | None) -> ssl.SSLContext | None:
    """For a cloud: with `ca`, edges have to show certificates too."""
    if not cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key)
    if ca:
        context.load_verify_locations(ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_tls(cert: str | None, key: str | None, ca: str | None) -> ssl.SSLContext | None:
    """For an edge: the cloud's certificate and host name are checked; `cert` is shown to a cloud that asks."""
    if not ca:
        return None
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert:
        context.load_cert_chain(cert, key)
    return context
