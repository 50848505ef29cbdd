"""The store: one SQLite file per owner. Modules hold plain functions over a connection, so that one transaction can span them.

engine = open_store(path)                 # migrates to the newest schema first
async with engine.begin() as connection:  # one transaction
    await messages.save(connection, rows)
    await dialogs.advance_watermark(connection, dialog_id, last)
"""

from twin.store.engine import open_store

__all__ = ["open_store"]
