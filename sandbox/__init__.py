"""A Telegram on loopback: one world behind three doors (Bot API over HTTP, MTProto over TCP, a web page)."""
