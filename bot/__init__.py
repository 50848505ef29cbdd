"""Telegram <-> twin: the durable inbox, draft cards, the sender, the owner's commands."""
