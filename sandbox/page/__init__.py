"""The third door: a web page with two phones, and the control API that scripts and tests use."""

from sandbox.page.server import PageServer

__all__ = ["PageServer"]
