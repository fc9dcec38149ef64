"""The client side of a conversation with the Responses API: see `session`."""

from penstock.session.calls import FunctionCall
from penstock.session.chain import Plan
from penstock.session.figures import TurnFigures
from penstock.session.session import ResponsesSession
from penstock.session.turn import Turn

__all__ = ["FunctionCall", "Plan", "ResponsesSession", "Turn", "TurnFigures"]
