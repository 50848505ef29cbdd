"""Routers: Telegram's updates -> one use case each. The owner's are behind one guard (`bot.guard`)."""
