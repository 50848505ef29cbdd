"""`twin demo`: the whole of it on one machine, with no account.

sandbox.py   a Telegram on loopback as a child process, and its control API
steps.py     what the demo does, step by step, and how long is left
setting.py   where it happens: the data folder and the settings that point at the sandbox
story.py     the story with no hands: a message, a card, a tap, and what the contact's Telegram shows
"""
