"""The MTProto door: MTProto 2.0 over TCP on the world, as unmodified Telethon and kurigram (both layer 229) speak it."""

from sandbox.mtproto.server import MtprotoServer

__all__ = ["MtprotoServer"]
