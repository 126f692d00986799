import signal

from orders import engine, outbox

from jobwire import Client
from jobwire.outbox import Relay

with Client() as client:
    relay = Relay(outbox.table(engine), client)
    signal.signal(signal.SIGTERM, lambda *_: relay.stop())
    relay.run(poll="500ms")
