"""The SQLSTATE with which a server refuses a login.

libpq keeps only the message of a refusal, in the language of the server (`lc_messages`). The code
is in the server's answer, which libpq prints in its trace (PostgreSQL documentation, "PQtrace").
So the login is tried once more. Its trace has what was sent, so it is a file in memory.
"""

import os
import re
import select
import sys
import time

from psycopg import pq
from psycopg.conninfo import make_conninfo

from pipeline.secret import Login

_SECONDS = 10.0
_CODE = re.compile(rb'ErrorResponse\t.*? V "\w+" C "(\w{5})"')


def sqlstate_of(login: Login) -> str | None:
    """Returns the SQLSTATE of the server's refusal; None if no server answers with one.

    Outside Linux, where libpq's trace cannot be read through psycopg, the answer is None.
    """
    if sys.platform != "linux":
        return None
    conninfo = make_conninfo("", **login.keywords, password=login.password)
    trace = os.memfd_create("trace")
    try:
        _try_login(conninfo.encode(), trace)
        codes = _CODE.findall(os.pread(trace, os.fstat(trace).st_size, 0))
        return codes[-1].decode() if codes else None
    finally:
        os.close(trace)


def _try_login(conninfo: bytes, trace: int) -> None:
    end = time.monotonic() + _SECONDS
    connection = pq.PGconn.connect_start(conninfo)
    try:
        connection.trace(trace)
        connection.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)
        while (left := end - time.monotonic()) > 0:
            status = connection.connect_poll()
            if status not in (pq.PollingStatus.READING, pq.PollingStatus.WRITING):
                return
            sockets = [connection.socket]
            reading = status == pq.PollingStatus.READING
            select.select(sockets if reading else [], [] if reading else sockets, [], left)
    finally:
        connection.untrace()
        connection.finish()
