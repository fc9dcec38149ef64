"""The gateway: one process between clients of the OpenAI API and whatever serves models.

    penstock serve --config gateway.yaml        # or --demo, which needs nothing else

or, inside of another program, an ASGI application:

    from penstock.gateway import Gateway, load
    app = Gateway(load("gateway.yaml"))

It is made of penstock's own parts and does nothing that the library cannot do alone. Extra:
`penstock[gateway]`.
"""

from .config import Config, ConfigError, load, read
from .gateway import Gateway

__all__ = ["Config", "ConfigError", "Gateway", "load", "read"]
