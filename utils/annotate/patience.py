"""HTTP connections that don't wait for ever: a request that is only half sent is closed."""
from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 30.0  # for the whole request to arrive


class PatientProtocol(H11Protocol):
    """uvicorn's protocol with a deadline; uvicorn itself has one for idle connections only."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A connection without a request isn't kept either."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Starts the clock with the first byte of a request, stops it with the last."""
        super().data_received(data)
        self._watch()

    def _watch(self) -> None:
        is_incomplete = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if is_incomplete and self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self.transport.close)
        elif not is_incomplete and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def connection_lost(self, exc: Exception | None) -> None:
        """The clock ends with the connection."""
        super().connection_lost(exc)
        if self._deadline is not None:
            self._deadline.cancel()
